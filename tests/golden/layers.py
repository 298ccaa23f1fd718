#!/usr/bin/env python3
"""Writes layers.safetensors: every layer and option as PyTorch computes it in float64, from seeded float32 values.

Run with a Python that has PyTorch (made with 1.13): layers.py
"""

import torch
import torch.nn.functional as F

import golden

torch.manual_seed(20)


def special(type, fields, inputs):
    """The layers that PyTorch has as functions."""
    x = inputs[0]
    if type == "Add":
        return sum(inputs[1:], x)
    if type == "Multiply":
        for other in inputs[1:]:
            x = x * other
        return x
    if type == "Concat":
        return torch.cat(inputs, fields.get("dim", 1))
    if type == "Slice":
        axis = [slice(None)] * x.dim()
        axis[fields["dim"]] = slice(fields.get("start", 0), fields.get("end"), fields.get("step", 1))
        return x[tuple(axis)].contiguous()
    if type == "Pad":
        mode = fields.get("mode", "constant")
        value = {"value": fields.get("value", 0.0)} if mode == "constant" else {}
        return F.pad(x, fields["padding"], mode, **value)
    if type == "Transpose":
        return x.transpose(fields["dim0"], fields["dim1"]).contiguous()
    return None


def values(*shape):
    return torch.randn(shape).double()


def cases():
    x = values(2, 3, 21)
    yield "Linear", {"in_features": 21, "out_features": 18}, [x]
    yield "Linear", {"in_features": 21, "out_features": 5, "bias": False}, [values(4, 21)]
    yield "BatchNorm1d", {"num_features": 3}, [x]
    yield "BatchNorm1d", {"num_features": 3, "eps": 0.01, "affine": False, "momentum": 0.3}, [values(5, 3)]
    short = values(1, 2, 17)
    for kernel_size in (1, 2, 3, 6):
        for stride in (None, 1, 2, 5):
            for padding in {0, kernel_size // 2}:
                for ceil_mode in (False, True):
                    window = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
                    for dilation in (1, 3):
                        yield "MaxPool1d", {**window, "dilation": dilation}, [short]
                    for count_include_pad in (False, True):
                        yield "AvgPool1d", {**window, "count_include_pad": count_include_pad}, [short]
    for output_size in (1, 4, 17, 40):
        yield "AdaptiveAvgPool1d", {"output_size": output_size}, [short]
    wide = torch.cat([values(40) * 4, torch.tensor([0.0, -0.0, 1e-30, -60.0, 60.0, -3e5, 3e5]).double()])
    for type in ("ReLU", "LeakyReLU", "Sigmoid", "Tanh", "GELU"):
        yield type, {}, [wide]
    yield "LeakyReLU", {"negative_slope": 0.2}, [wide]
    yield "GELU", {"approximate": "tanh"}, [wide]
    for dim in (0, 1, 2, -1, -2):
        yield "Softmax", {"dim": dim}, [5 * x]
    for type in ("Add", "Multiply"):
        yield type, {}, [x, values(2, 3, 21)]
        yield type, {}, [x, values(3, 1), values(21)]
        yield type, {}, [values(2, 1, 4), values(5, 1)]
    yield "Concat", {}, [x, values(2, 1, 21)]
    yield "Concat", {"dim": -1}, [x, values(2, 3, 4), values(2, 3, 1)]
    for start, end, step in ((0, None, 1), (3, -2, 1), (-7, None, 3), (-100, 100, 4), (20, 21, 2)):
        yield "Slice", {"dim": -1, "start": start, "end": end, "step": step}, [x]
    yield "Slice", {"dim": 1, "start": 1}, [x]
    for mode in ("constant", "reflect", "replicate", "circular"):
        yield "Pad", {"padding": [4, 7], "mode": mode}, [x]
        yield "Pad", {"padding": [20, 0], "mode": mode}, [x]
    yield "Pad", {"padding": [1, 2], "value": -1.5}, [x]
    for dims in ((0, 1), (1, 2), (-1, 0), (1, 1)):
        yield "Transpose", {"dim0": dims[0], "dim1": dims[1]}, [x]


def run(type, fields, inputs):
    """The outputs, and the parameters by name."""
    output = special(type, fields, inputs)
    if output is not None:
        return [output], {}
    module = getattr(torch.nn, type)(**{k: v for k, v in fields.items() if v is not None}).eval()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) + 0.1 if name == "running_var" else torch.randn(tensor.shape))
    parameters = {k: v.clone() for k, v in module.state_dict().items() if v.is_floating_point()}
    with torch.no_grad():
        return [module.double()(*inputs)], parameters


def main():
    rounded = ((type, fields, [x.float().double() for x in inputs]) for type, fields, inputs in cases())
    golden.write("layers.safetensors", ((*case, *run(*case)) for case in rounded))


if __name__ == "__main__":
    main()
