#!/usr/bin/env python3
"""Writes layers_scale.safetensors: Scale as PyTorch computes it in float64. Run with a Python that has PyTorch (1.13)."""

import torch

import golden

torch.manual_seed(23)


def cases():
    for factor, offset in ((1.0, 0.0), (1 / 3, 0.0), (-0.7071067811865476, 1.5), (0.0, -2.0)):
        x = torch.randn(2, 3, 21).float().double()
        yield "Scale", {"factor": factor, "offset": offset}, [x], [x * factor + offset], {}


golden.write("layers_scale.safetensors", cases())
