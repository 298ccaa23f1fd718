"""Writes what a network gives in PyTorch, in float64, for weights and inputs that both sides make from names and shapes.

NETWORK.safetensors, beside this file, has the outputs, and as metadata the state_dict's names and shapes, the inputs' shapes,
and what to replace in examples/networks/NETWORK.yaml to make it as small as the network that gave them.
tests/networks_test.cc loads the YAML with these weights and compares.
"""

import json
import math
import pathlib
import struct

import numpy as np
import torch


def uniform(name, count):
    """In [-1, 1): splitmix64 from the name's FNV-1a."""
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1


def values(name, shape, gain):
    """A weight: matrices and filters keep a signal's size (matrices change it by gain, a power of 2), norms and slopes are about 1,
    biases about 0."""
    count = math.prod(shape)
    if name.endswith(("bias", "beta", "running_mean")):
        offset, scale = 0.0, 0.125
    elif name.endswith("filter"):
        offset = float(np.float32(1 / count))
        scale = offset / 4
    elif len([n for n in shape if n > 1]) < 2 or name.endswith(("alpha", "running_var")):
        offset, scale = 1.0, 0.25
    else:
        offset, scale = 0.0, float(np.float32(math.sqrt(3 / (count // shape[0]))))
        scale *= gain
    if name.endswith(("weight_g", "original0")):
        offset, scale = offset * gain, scale * gain
    return (offset + scale * uniform(name, count)).astype(np.float32).reshape(shape)


def write(name, model, inputs, outputs, replace=(), rename=None, gain=1.0):
    """inputs: names and shapes; outputs: names, in the order in which the model returns them; rename: of a state_dict name
    to the name that the YAML reads it by, or None where it does not."""
    model = model.double().eval()
    weights, state = {}, {}
    for key, tensor in model.state_dict().items():
        path = rename(key) if rename else key
        if path is None or key.endswith("num_batches_tracked"):
            state[key] = tensor
            continue
        weights[path] = list(tensor.shape)
        state[key] = torch.from_numpy(values(path, weights[path], gain)).double()
    model.load_state_dict(state)
    with torch.no_grad():
        results = model(*[torch.from_numpy(uniform("input." + key, math.prod(shape)).reshape(shape))
                          for key, shape in inputs.items()])
    results = results if isinstance(results, (tuple, list)) else [results]
    metadata = {"weights": weights, "inputs": inputs, "replace": list(replace), "gain": gain}
    header, data = {"__metadata__": {key: json.dumps(value, separators=(",", ":")) for key, value in metadata.items()}}, b""
    for key, tensor in zip(outputs, results):
        raw = tensor.contiguous().numpy().astype("<f8").tobytes()
        header[key] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = pathlib.Path(__file__).with_name(name + ".safetensors")
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    for key, tensor in zip(outputs, results):
        print(f"{name}: {key} {list(tensor.shape)}, rms {tensor.square().mean().sqrt():.3g}, {path.stat().st_size} bytes, "
              f"{sum(math.prod(s) for s in weights.values())} weights")
