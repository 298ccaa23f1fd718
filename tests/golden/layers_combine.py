#!/usr/bin/env python3
"""Writes layers_combine.safetensors: arithmetic and matrix products in PyTorch's float64, from float32 values.

Run with a Python that has PyTorch (made with 1.13): layers_combine.py
"""

import torch

import golden

torch.manual_seed(24)

OPERATIONS = {"Add": torch.add, "Subtract": torch.sub, "Multiply": torch.mul, "Divide": torch.div}


def values(*shape):
    return torch.randn(shape).double()


def cases():
    x = values(2, 3, 21)
    for type, operation in OPERATIONS.items():
        yield type, {"value": -1.25}, [x], operation(x, -1.25)
        if type in ("Subtract", "Divide"):
            for inputs in ([x, values(2, 3, 21)], [x, values(3, 1), values(21)], [values(2, 1, 4), values(5, 1)]):
                y = inputs[0]
                for other in inputs[1:]:
                    y = operation(y, other)
                yield type, {}, inputs, y
    for a, b in (((5, 7), (7, 4)), ((2, 5, 7), (2, 7, 4)), ((2, 5, 7), (7, 4)), ((2, 1, 5, 7), (3, 7, 4))):
        inputs = [values(*a), values(*b)]
        yield "MatMul", {}, inputs, torch.matmul(*inputs)


def main():
    golden.write("layers_combine.safetensors",
                 ((type, fields, inputs, [y], {}) for type, fields, inputs, y in cases()))


if __name__ == "__main__":
    main()
