#!/usr/bin/env python3
"""Writes layers_activation.safetensors: activations with parameters, gates and FiLM in PyTorch's float64, from float32.

Run with a Python that has PyTorch (made with 1.13): layers_activation.py
"""

import torch
import torch.nn.functional as F

import golden

torch.manual_seed(23)

FUNCTIONS = {"identity": lambda x: x, "relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
             "softsign": F.softsign, "silu": F.silu, "gelu": F.gelu, "hardtanh": F.hardtanh}


def values(*shape):
    return torch.randn(shape).double()


def halves(x, dim):
    return torch.chunk(x, 2, dim)


def snake(type, fields, x):
    shape = [1, fields["channels"], 1] if type == "Snake1d" else [fields["channels"]]
    parameters = {"alpha": (torch.rand(shape) + 0.3).double()}
    if type == "SnakeBeta":
        parameters["beta"] = (torch.rand(shape) + 0.3).double()
    used = {k: v.exp() if fields.get("alpha_logscale") else v for k, v in parameters.items()}
    used = {k: v.reshape(1, -1, 1) for k, v in used.items()}
    alpha = used["alpha"]
    beta = used.get("beta", alpha)
    return x + (1 / (beta + 1e-9)) * torch.sin(alpha * x).pow(2), parameters


def cases():
    x = values(2, 6, 17)
    for type in ("Snake", "Snake1d", "SnakeBeta"):
        yield type, {"channels": 6}, [x], *snake(type, {"channels": 6}, x)
        if type != "Snake1d":
            fields = {"channels": 6, "alpha_logscale": True}
            yield type, fields, [x], *snake(type, fields, x)
    for count in (1, 6):
        weight = torch.randn(count).double()
        yield "PReLU", {"num_parameters": count}, [x], F.prelu(x, weight), {"weight": weight}
    even = values(2, 6, 18)
    for dim in (0, 1, -1):
        yield "GLU", {"dim": dim}, [even], F.glu(even, dim), {}
    yield "GLU", {}, [even], F.glu(even), {}
    a, b = halves(x, 1)
    yield "GatedActivation", {}, [x], torch.tanh(a) * torch.sigmoid(b), {}
    for name, function in FUNCTIONS.items():
        yield "GatedActivation", {"activation": name, "gate": "tanh"}, [x], function(a) * torch.tanh(b), {}
    a, b = halves(even, 2)
    yield "GatedActivation", {"dim": 2, "activation": "identity", "gate": "gelu"}, [even], a * F.gelu(b), {}
    for dim in (1, 2):
        a, b = halves(even, dim)
        yield "Magnitude", {"dim": dim}, [even], torch.abs(torch.complex(a, b)), {}
    for shape in ((2, 12, 17), (2, 12, 1), (1, 12, 17), (2, 12)):
        condition = values(*shape)
        scale, shift = halves(condition, 1)
        if condition.dim() == 2:
            scale, shift = scale[:, :, None], shift[:, :, None]
        yield "FiLM", {}, [x, condition], x * scale + shift, {}


def main():
    golden.write("layers_activation.safetensors",
                 ((type, fields, inputs, [y], parameters) for type, fields, inputs, y, parameters in cases()))


if __name__ == "__main__":
    main()
