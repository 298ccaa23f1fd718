#!/usr/bin/env python3
"""Writes layers_signal.safetensors: resampling and shape layers as PyTorch computes them in float64.

Run with a Python that has PyTorch (made with 1.13): layers_signal.py
"""

import torch
import torch.nn.functional as F

import golden

torch.manual_seed(21)


def values(*shape):
    return torch.randn(shape).float().double()


def transposed_convolutions():
    """ConvTranspose1d; a list of paddings crops the full output's ends."""
    for fields in (
        {"kernel_size": 16, "stride": 8, "padding": 4},
        {"kernel_size": 4, "stride": 2, "padding": [0, 2]},
        {"kernel_size": 5, "stride": 3, "output_padding": 2, "bias": False},
        {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 4},
        {"kernel_size": 3, "stride": 4, "padding": 3, "output_padding": 3, "dilation": 6},
        {"kernel_size": 2, "stride": 5, "output_padding": 1},
        {"kernel_size": 12, "stride": 2, "padding": 5, "groups": 6, "bias": False},
        {"kernel_size": 6, "stride": 3, "padding": 1, "groups": 2},
        {"kernel_size": 1, "stride": 1},
    ):
        module_fields = {"in_channels": 6, "out_channels": 18, **fields}
        crop = fields.get("padding", 0)
        if isinstance(crop, list):
            module_fields["padding"] = 0
        module = torch.nn.ConvTranspose1d(**module_fields).float().double()
        for parameter in module.parameters():
            parameter.data = values(*parameter.shape)
        x = values(2, 6, 9)
        with torch.no_grad():
            y = module(x)
        if isinstance(crop, list):
            y = y[..., crop[0]:y.shape[-1] - crop[1]]
        yield "ConvTranspose1d", {"in_channels": 6, "out_channels": 18, **fields}, [x], [y], module.state_dict()


def main():
    golden.write("layers_signal.safetensors", transposed_convolutions())


if __name__ == "__main__":
    main()
