"""Writes golden cases: what a layer gives in PyTorch, in float64, from float32 values.

A case has its layer's type and fields as JSON in the file's metadata, and the tensors CASE.input.I, CASE.PARAMETER and
CASE.output.I (float64). tests/layers_golden_test.cc runs all layers*.safetensors of this folder.
"""

import json
import pathlib
import struct

import torch

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64"}


def write(file, cases):
    """cases: (type, fields, inputs, outputs, parameters); an input that is None is an optional one left out."""
    metadata, tensors = {}, {}
    for number, (type, fields, inputs, outputs, parameters) in enumerate(cases):
        name = f"{number:03d}"
        metadata[name] = json.dumps({"type": type, "fields": fields, "inputs": len(inputs), "outputs": len(outputs)})
        for i, tensor in enumerate(outputs):
            tensors[f"{name}.output.{i}"] = tensor.double()
        for i, tensor in enumerate(inputs):
            if tensor is not None:
                tensors[f"{name}.input.{i}"] = tensor.float() if tensor.is_floating_point() else tensor
        for parameter, tensor in parameters.items():
            tensors[f"{name}.{parameter}"] = tensor.float()
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        raw = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = pathlib.Path(__file__).with_name(file)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(f"{file}: {len(metadata)} cases, {path.stat().st_size} bytes")
