#!/usr/bin/env python3
"""PyTorch's times on the cases of `strand bench --layers`: eager modules, float32, cuDNN's choice by measuring.

    python3 tools/bench/pytorch_layers.py tools/bench/layers_cases.txt --output pytorch_layers.csv
    strand bench --layers tools/bench/layers_cases.txt --device cuda --pytorch pytorch_layers.csv

TF32 is off for both convolutions and recurrent layers unless --tf32 asks for it. Layers that PyTorch has no module for
are written from its functions, as a user would.
"""

import argparse
import json
import sys

import torch
from torch import nn
from torch.nn import functional

from pytorch_timing import describe, median_ms, rotations, write_csv


def over_channels(norm):
    """A norm over the last axis, on the channels of [N, C, L]."""
    return lambda x: norm(x.transpose(1, 2)).transpose(1, 2)


def layer_norm(normalized_shape, dim=-1, **fields):
    norm = nn.LayerNorm(normalized_shape, **fields)
    return norm, norm if dim == -1 else over_channels(norm)


class RMSNorm(nn.Module):  # since 2.4 a module
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + torch.finfo(x.dtype).eps) * self.weight


def rms_norm(normalized_shape, dim=-1):
    norm = getattr(nn, "RMSNorm", RMSNorm)(normalized_shape)
    return norm, norm if dim == -1 else over_channels(norm)


def per_channel(channels, forward):
    """A layer with a weight and a bias a channel."""
    weight = nn.Parameter(torch.rand(1, channels, 1) + 0.5)
    bias = nn.Parameter(torch.rand(1, channels, 1))
    return nn.ParameterList([weight, bias]), lambda x: forward(x, weight, bias)


def snake(channels):
    return per_channel(channels, lambda x, alpha, _: x + torch.sin(alpha * x).square() / (alpha + 1e-9))


def channel_layer_norm(channel_size, eps=1e-8):
    def forward(x, weight, bias):
        variance, mean = torch.var_mean(x, dim=1, keepdim=True, unbiased=False)
        return (x - mean) * torch.rsqrt(variance + eps) * weight + bias
    return per_channel(channel_size, forward)


def cumulative_layer_norm(channel_size, eps=1e-8):
    def forward(x, weight, bias):
        count = channel_size * torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
        mean = (x.sum(1, keepdim=True).cumsum(-1)) / count
        square = (x.square().sum(1, keepdim=True).cumsum(-1)) / count
        return (x - mean) * torch.rsqrt(square - mean.square() + eps) * weight + bias
    return per_channel(channel_size, forward)


def film(x, condition):
    scale, shift = condition.unsqueeze(-1).chunk(2, dim=1) if condition.dim() == 2 else condition.chunk(2, dim=1)
    return scale * x + shift


def gated(x):
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


def pad(padding, mode="constant", value=0.0):
    sides = padding if isinstance(padding, list) else [padding, padding]
    return lambda x: functional.pad(x, sides, mode=mode, **({"value": value} if mode == "constant" else {}))


# Makers of what PyTorch has no module for: a function, or a module that owns parameters and a function.
OTHERS = {
    "Add": lambda: torch.add,
    "Multiply": lambda: torch.mul,
    "Concat": lambda dim=1: lambda *inputs: torch.cat(inputs, dim),
    "Mean": lambda dim, keepdim=False: lambda x: x.mean(dim, keepdim),
    "Transpose": lambda dim0, dim1: lambda x: x.transpose(dim0, dim1).contiguous(),
    "FiLM": lambda: film,
    "GatedActivation": lambda: gated,
    "Pad": pad,
    "LayerNorm": layer_norm,
    "RMSNorm": rms_norm,
    "Snake": snake,
    "ChannelLayerNorm": channel_layer_norm,
    "CumulativeLayerNorm": cumulative_layer_norm,
}


def parse_value(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # a word, such as a mode


def read_cases(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            name, shapes, _, kind = words[:4]
            fields = {field: parse_value(value) for field, value in (word.split("=", 1) for word in words[4:])}
            yield name, [tuple(map(int, shape.split("x"))) for shape in shapes.split(",")], kind, fields


def make(kind, fields, device):
    """A callable on the device, in evaluation mode."""
    made = OTHERS[kind](**fields) if kind in OTHERS else getattr(nn, kind)(**fields)
    module, call = made if isinstance(made, tuple) else (made, made)
    if isinstance(module, nn.Module):
        module.to(device).eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
    return call


def bytes_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def time_case(shapes, kind, fields, device, repeats):
    layer = make(kind, fields, device)
    first = [torch.randn(shape, device=device) for shape in shapes]
    with torch.no_grad():
        result = layer(*first)
    outputs = [result] if torch.is_tensor(result) else [result[0]]
    sets = [first]
    for _ in range(rotations(device, bytes_of(first) + bytes_of(outputs)) - 1):
        sets.append([torch.randn(shape, device=device) for shape in shapes])
    del result, outputs
    return median_ms(lambda turn: layer(*sets[turn % len(sets)]), device, len(sets), repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases")
    parser.add_argument("--output", help="a CSV file; standard output unless given")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--filter", default="", help="only the cases whose name has this in it")
    parser.add_argument("--repeat", type=int, default=11)
    parser.add_argument("--tf32", action="store_true", help="let convolutions and recurrent layers use TF32")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = arguments.tf32
    torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    print(describe(device), file=sys.stderr)

    def rows():
        for name, shapes, kind, fields in read_cases(arguments.cases):
            if arguments.filter not in name:
                continue
            try:
                yield name, time_case(shapes, kind, fields, device, arguments.repeat)
            except RuntimeError as error:  # out of memory
                print(f"{name}: {error}", file=sys.stderr)
                yield name, None
            if device.type == "cuda":
                torch.cuda.empty_cache()

    write_csv(arguments.output, ["tf32" if arguments.tf32 else "fp32"], rows())


if __name__ == "__main__":
    main()
