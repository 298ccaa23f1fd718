"""Writes conv1d.safetensors beside this file: what torch.nn.Conv1d computes in float64, rounded to float32.

Run with a Python that has PyTorch (1.13 wrote the file that is kept): python3 conv1d.py
A case is three to four tensors, <case>.x, .weight, .bias and .y; its name holds its fields, read back by
conv1d_golden_test.cc: k kernel_size, s stride, d dilation, g groups, p padding (left_right, or a rule), padding_mode.
"""

import json
import pathlib
import struct

import torch

CASES = [
    # in, out, length, k, s, d, g, padding, mode, bias
    (1, 1, 9, 1, 1, 1, 1, 0, "zeros", True),
    (3, 5, 20, 3, 1, 1, 1, 0, "zeros", True),
    (3, 5, 20, 3, 1, 1, 1, 1, "zeros", False),
    (4, 6, 31, 4, 1, 1, 1, 2, "zeros", True),
    (4, 6, 31, 2, 2, 1, 1, 0, "zeros", True),
    (2, 3, 40, 5, 3, 4, 1, 7, "zeros", True),
    (2, 3, 40, 3, 7, 2, 1, 3, "zeros", False),
    (5, 17, 33, 3, 3, 4, 1, 0, "zeros", False),
    (6, 6, 25, 3, 1, 2, 6, 2, "zeros", True),
    (4, 12, 25, 4, 2, 1, 4, 1, "zeros", True),
    (6, 9, 30, 3, 1, 1, 3, 1, "zeros", True),
    (3, 4, 21, 3, 1, 1, 1, "same", "zeros", True),
    (3, 4, 21, 4, 1, 1, 1, "same", "zeros", True),
    (3, 4, 21, 4, 1, 3, 1, "same", "zeros", False),
    (3, 4, 21, 6, 1, 1, 1, "valid", "zeros", True),
    (3, 4, 21, 5, 1, 2, 1, 4, "reflect", True),
    (3, 4, 21, 4, 1, 1, 1, "same", "reflect", True),
    (3, 4, 12, 3, 2, 1, 1, 11, "reflect", False),
    (3, 4, 21, 5, 2, 2, 1, 4, "replicate", True),
    (3, 4, 5, 4, 1, 3, 1, "same", "replicate", True),
    (3, 4, 21, 5, 1, 2, 1, 4, "circular", True),
    (3, 4, 7, 4, 3, 2, 1, 7, "circular", True),
    (4, 4, 20, 3, 1, 1, 2, 1, "circular", True),
    (64, 128, 40, 3, 3, 4, 1, 0, "zeros", False),
    (33, 31, 50, 7, 1, 1, 1, 3, "zeros", True),
    (2, 2, 8, 8, 1, 1, 1, 0, "zeros", True),
]


def tensors_of(generator, case):
    channels, outputs, length, k, s, d, g, padding, mode, has_bias = case
    x = torch.randn(2, channels, length, generator=generator)
    conv = torch.nn.Conv1d(channels, outputs, k, s, padding, d, g, has_bias, mode)
    weight = torch.randn(conv.weight.shape, generator=generator)
    conv.weight.data = weight.double()
    tensors = {"x": x, "weight": weight}
    if has_bias:
        tensors["bias"] = torch.randn(outputs, generator=generator)
        conv.bias.data = tensors["bias"].double()
    tensors["y"] = conv(x.double()).detach().float()
    return f"k{k} s{s} d{d} g{g} p{padding} {mode}", tensors


def write(path, tensors):
    header, data = {}, b""
    for name, tensor in sorted(tensors.items()):
        values = tensor.contiguous().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    generator = torch.Generator().manual_seed(20261122)
    everything = {}
    for index, case in enumerate(CASES):
        name, tensors = tensors_of(generator, case)
        for part, tensor in tensors.items():
            everything[f"{index:02d} {name}.{part}"] = tensor
    write(pathlib.Path(__file__).with_suffix(".safetensors"), everything)


if __name__ == "__main__":
    main()
