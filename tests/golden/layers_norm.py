#!/usr/bin/env python3
"""Writes layers_norm.safetensors: the norms as PyTorch computes them in float64, from float32 values.

Run with a Python that has PyTorch (made with 1.13): layers_norm.py
"""

import torch
import torch.nn.functional as F

import golden

torch.manual_seed(22)


def values(*shape):
    return torch.randn(shape).double()


def cases():
    x = values(2, 6, 17)
    yield "LayerNorm", {"normalized_shape": 17}, x
    yield "LayerNorm", {"normalized_shape": [6, 17], "eps": 0.1}, x
    yield "LayerNorm", {"normalized_shape": 17, "elementwise_affine": False}, x
    yield "LayerNorm", {"normalized_shape": 17, "bias": False}, x
    yield "LayerNorm", {"normalized_shape": 6, "dim": 1}, x
    yield "RMSNorm", {"normalized_shape": 17}, x
    yield "RMSNorm", {"normalized_shape": [6, 17], "eps": 0.1}, x
    yield "RMSNorm", {"normalized_shape": 6, "dim": 1, "elementwise_affine": False}, x
    for groups in (1, 2, 6):
        yield "GroupNorm", {"num_groups": groups, "num_channels": 6}, x
    yield "GroupNorm", {"num_groups": 3, "num_channels": 6, "eps": 0.1, "affine": False}, x
    yield "GroupNorm", {"num_groups": 2, "num_channels": 6}, values(3, 6)
    yield "InstanceNorm1d", {"num_features": 6}, x
    yield "InstanceNorm1d", {"num_features": 6, "eps": 0.1, "affine": True}, x
    for type in ("GlobalLayerNorm", "ChannelLayerNorm", "CumulativeLayerNorm"):
        yield type, {"channel_size": 6}, x
        yield type, {"channel_size": 6, "eps": 0.1}, values(1, 6, 50) + 3


def run(type, fields, x):
    """The output, and the parameters by name."""
    def parameter(shape):
        return torch.randn(shape).double()

    eps = fields.get("eps", 1e-5)
    if type == "GroupNorm" or type == "InstanceNorm1d":
        module = getattr(torch.nn, type)(**fields).double()
        parameters = {name: parameter(tensor.shape) for name, tensor in module.state_dict().items()}
        module.load_state_dict(parameters)
        return module(x).detach(), parameters
    if type.endswith("Norm") and "normalized_shape" in fields:
        shape = fields["normalized_shape"] if isinstance(fields["normalized_shape"], list) else [fields["normalized_shape"]]
        moved = x.transpose(1, 2) if fields.get("dim") == 1 else x
        parameters = {}
        if fields.get("elementwise_affine", True):
            parameters["weight"] = parameter(shape)
            if type == "LayerNorm" and fields.get("bias", True):
                parameters["bias"] = parameter(shape)
        if type == "LayerNorm":
            y = F.layer_norm(moved, shape, parameters.get("weight"), parameters.get("bias"), eps)
        else:
            dims = tuple(range(-len(shape), 0))
            y = moved * torch.rsqrt(moved.pow(2).mean(dims, keepdim=True) + fields.get("eps", 2.0 ** -23))
            y = y * parameters.get("weight", 1)
        return (y.transpose(1, 2) if fields.get("dim") == 1 else y).contiguous(), parameters
    # asteroid/masknn/norms.py's, in its own formulas
    gamma, beta = parameter(6), parameter(6)
    eps = fields.get("eps", 1e-8)
    if type == "CumulativeLayerNorm":
        count = x.shape[1] * torch.arange(1, x.shape[2] + 1).double()
        mean = (x.sum(1, keepdim=True).cumsum(-1) / count)
        variance = x.pow(2).sum(1, keepdim=True).cumsum(-1) / count - mean.pow(2)
    else:
        dims = (1, 2) if type == "GlobalLayerNorm" else 1
        mean = x.mean(dims, keepdim=True)
        variance = x.var(dims, unbiased=False, keepdim=True)
    y = (x - mean) / torch.sqrt(variance + eps) * gamma[:, None] + beta[:, None]
    return y, {"gamma": gamma, "beta": beta}


def rounded_cases():
    for type, fields, x in cases():
        x = x.float().double()
        y, parameters = run(type, fields, x)
        yield type, fields, [x], [y], parameters


def main():
    golden.write("layers_norm.safetensors", rounded_cases())


if __name__ == "__main__":
    main()
