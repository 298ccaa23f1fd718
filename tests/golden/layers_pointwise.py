#!/usr/bin/env python3
"""Writes layers_pointwise.safetensors: the activations and LogSoftmax as PyTorch computes them in float64, from float32 values.

Run with a Python that has PyTorch (made with 1.13): layers_pointwise.py
"""

import torch

import golden

torch.manual_seed(21)

FUNCTIONS = {"Abs": torch.abs, "Square": torch.square, "Sqrt": torch.sqrt, "Exp": torch.exp, "Log": torch.log,
             "Sin": torch.sin, "Cos": torch.cos}


def cases():
    edges = [0.0, -0.0, 1e-30, -1e-30, 3.0, -3.0, 6.0, 20.0, -20.0, -60.0, 60.0]
    x = torch.cat([torch.randn(40).double() * 4, torch.tensor(edges).double()])
    wide = torch.cat([x, torch.tensor([-3e5, 3e5]).double()])
    # PyTorch 1.13 computes expm1(x) as exp(x) - 1, which cancels near 0.
    tame = wide[wide.abs().gt(0.5) | wide.eq(0)]
    for type in ("ELU", "SELU", "CELU"):
        yield type, {}, tame
    for type in ("ReLU6", "LogSigmoid", "SiLU", "Mish", "Softplus", "Softsign", "Hardswish",
                 "Hardsigmoid", "Hardtanh", "Abs", "Square"):
        yield type, {}, wide
    yield "Sqrt", {}, wide.abs()
    yield "Log", {}, wide[wide.ne(0)].abs()
    yield "Exp", {}, x
    for alpha in (0.3, 2.5):
        yield "ELU", {"alpha": alpha}, tame
        yield "CELU", {"alpha": alpha}, tame
    yield "ELU", {"alpha": -0.5}, tame
    yield "Softplus", {"beta": 0.3}, wide
    yield "Softplus", {"beta": 4.0, "threshold": 2.0}, wide
    yield "Hardtanh", {"min_val": -0.3, "max_val": 2.7}, wide
    for bounds in ({"min": 0.1}, {"max": -0.1}, {"min": -1.3, "max": 0.2}, {"min": 1, "max": -1}):
        yield "Clamp", bounds, wide
    for dim in (0, 1, -1):
        yield "LogSoftmax", {"dim": dim}, 5 * torch.randn(2, 3, 21).double()
    for type in ("Sin", "Cos"):
        yield type, {}, wide


def run(type, fields, x):
    if type == "Clamp":
        return torch.clamp(x, **fields)
    return FUNCTIONS[type](x) if type in FUNCTIONS else getattr(torch.nn, type)(**fields)(x)


def main():
    rounded = ((type, fields, x.float().double()) for type, fields, x in cases())
    golden.write("layers_pointwise.safetensors",
                 ((type, fields, [x], [run(type, fields, x)], {}) for type, fields, x in rounded))


if __name__ == "__main__":
    main()
