#!/usr/bin/env python3
"""RTNeural's JSON to strand: convert.py MODEL.json NAME writes NAME.yaml and NAME.safetensors.

A Keras model (a file with "layers") becomes a causal network on a signal [1, channels, length]: dense layers as Conv1d of
one tap, recurrent ones between two Transposes. A PyTorch state_dict becomes NAME.safetensors alone, since it does not
say what it is the state of. Sizes that do not fit each other are refused.
"""

import json
import pathlib
import struct
import sys

ACTIVATIONS = {"tanh": "Tanh", "relu": "ReLU", "sigmoid": "Sigmoid", "elu": "ELU", "softmax": "Softmax"}


class Bad(Exception):
    pass


def shape(array):
    sizes = []
    while isinstance(array, list):
        sizes.append(len(array))
        array = array[0] if array else None
    return sizes


def flat(array, sizes):
    """The numbers of nested lists, each level of which must have its size."""
    if not sizes:
        if isinstance(array, bool) or not isinstance(array, (int, float)):
            raise Bad(f"{array!r} is not a number")
        return [float(array)]
    if not isinstance(array, list) or len(array) != sizes[0]:
        raise Bad(f"weights have shape {shape(array)}, expected {sizes}")
    return [x for part in array for x in flat(part, sizes[1:])]


def transposed(array, rows, columns):
    values = flat(array, [rows, columns])
    return [values[r * columns + c] for c in range(columns) for r in range(rows)]


def write_safetensors(path, tensors):
    """tensors: name -> (sizes, numbers)"""
    header, data = {}, b""
    for name, (sizes, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": sizes, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


class Network:
    def __init__(self, channels):
        self.channels = channels
        self.lines = []
        self.tensors = {}

    def add(self, name, type, fields="", **tensors):
        self.lines.append(f"  - {{name: {name}, type: {type}{', ' if fields else ''}{fields}}}")
        self.tensors.update({f"{name}.{key}": value for key, value in tensors.items()})

    def conv(self, name, weights, out, kernel_size, dilation, groups):
        if self.channels % groups:
            raise Bad(f"{groups} groups do not divide {self.channels} channels")
        a_group = self.channels // groups
        values = flat(weights[0], [kernel_size, a_group, out])  # [tap, in, out] -> [out, in, tap]
        weight = [values[(k * a_group + i) * out + o]
                  for o in range(out) for i in range(a_group) for k in range(kernel_size)]
        tensors = {"weight": ([out, a_group, kernel_size], weight)}
        if len(weights) > 1:
            tensors["bias"] = ([out], flat(weights[1], [out]))
        self.add(name, "Conv1d", f"in_channels: {self.channels}, out_channels: {out}, kernel_size: {kernel_size}, "
                 f"dilation: {dilation}, groups: {groups}, bias: {str(len(weights) > 1).lower()}, padding: causal", **tensors)

    def recurrent(self, name, kind, weights, units):
        gates = {"lstm": 4, "gru": 3}[kind]
        rows = gates * units

        def ordered(values, width):
            """Keras' GRU has z, r, h; PyTorch's r, z, n. Both LSTMs have i, f, c, o."""
            order = [1, 0, 2] if kind == "gru" else range(gates)
            return [x for g in order for x in values[g * units * width:(g + 1) * units * width]]

        if kind == "gru":
            biases = flat(weights[2], [2, rows])  # reset_after: one for x, one for h
        else:
            biases = flat(weights[2], [rows]) + [0.0] * rows
        self.add(name + "_in", "Transpose", "dim0: 1, dim1: 2")
        self.add(name, kind.upper(), f"input_size: {self.channels}, hidden_size: {units}, batch_first: true", **{
            "weight_ih_l0": ([rows, self.channels], ordered(transposed(weights[0], self.channels, rows), self.channels)),
            "weight_hh_l0": ([rows, units], ordered(transposed(weights[1], units, rows), units)),
            "bias_ih_l0": ([rows], ordered(biases[:rows], 1)),
            "bias_hh_l0": ([rows], ordered(biases[rows:], 1))})
        self.add(name + "_out", "Transpose", "dim0: 1, dim1: 2")

    def layer(self, number, layer):
        kind, weights, out = layer["type"], layer["weights"], layer["shape"][-1]
        name = f"{kind.replace('-', '_')}{number}"
        if kind in ("dense", "time-distributed-dense"):
            weights = [[weights[0]], *weights[1:]]
            self.conv(name, weights, out, 1, 1, 1)
        elif kind == "conv1d":
            self.conv(name, weights, out, layer["kernel_size"][0], layer["dilation"][0], layer.get("groups", 1))
        elif kind in ("lstm", "gru"):
            self.recurrent(name, kind, weights, out)
        elif kind == "batchnorm":
            names = ["weight", "bias", "running_mean", "running_var"][-len(weights):]
            tensors = {key: ([out], flat(value, [out])) for key, value in zip(names, weights)}
            # conv.json has a variance below 0, which only a large epsilon makes up for: half of that moves over.
            eps = layer["epsilon"]
            if min(tensors["running_var"][1]) < 0:
                eps /= 2
                tensors["running_var"] = ([out], [x + eps for x in tensors["running_var"][1]])
            self.add(name, "BatchNorm1d", f"num_features: {out}, eps: {eps:.17f}, "
                     f"affine: {str(len(weights) == 4).lower()}", **tensors)
        elif kind == "prelu":
            alphas = len(weights[0][0])
            self.add(name, "PReLU", f"num_parameters: {alphas}", weight=([alphas], flat(weights[0], [1, alphas])))
        elif kind != "activation":
            raise Bad(f"unknown layer type {kind!r}")
        if kind not in ("conv1d", "dense", "time-distributed-dense", "lstm", "gru") and out != self.channels:
            raise Bad(f"{kind} on {self.channels} channels says {out}")
        self.channels = out
        if kind not in ("lstm", "gru") and layer["activation"]:
            type = ACTIVATIONS[layer["activation"]]
            self.add(f"{layer['activation']}{number}", type, "dim: 1" if type == "Softmax" else "")


def convert(model, name):
    name = pathlib.Path(name)
    description = json.loads(pathlib.Path(model).read_text())
    if "layers" not in description:
        write_safetensors(f"{name}.safetensors",
                          {key: (shape(value), flat(value, shape(value)) if isinstance(value, list) else [float(value)])
                           for key, value in description.items()})
        return
    channels = description["in_shape"][-1]
    network = Network(channels)
    for number, layer in enumerate(description["layers"]):
        try:
            network.layer(number, layer)
        except Bad as error:
            raise Bad(f"{model}: layer {number}, {layer['type']}: {error}") from None
    write_safetensors(f"{name}.safetensors", network.tensors)
    pathlib.Path(f"{name}.yaml").write_text("\n".join(
        ["strand: 1", f"weights: {name.name}.safetensors", "inputs:",
         f"  audio: {{shape: [1, {channels}, length], defaults: {{length: 48000}}}}", "layers:", *network.lines, ""]))


if __name__ == "__main__":
    try:
        convert(*sys.argv[1:])
    except Bad as error:
        sys.exit(str(error))
