#!/usr/bin/env python3
"""Writes layers_recurrent.safetensors: LSTM, GRU and their cells as PyTorch computes them in float64.

Run with a Python that has PyTorch (made with 1.13): layers_recurrent.py
"""

import itertools

import torch

import golden

torch.manual_seed(31)


def values(*shape):
    return torch.randn(shape).float().double()


def run(type, fields, inputs):
    module = getattr(torch.nn, type)(**fields).eval()
    parameters = {k: v.clone() for k, v in module.state_dict().items()}
    x, *states = inputs
    states = None if not states else states[0] if type.startswith("GRU") else tuple(states)
    with torch.no_grad():
        result = module.double()(x, states)
    if type == "LSTM":
        result = (result[0], *result[1])
    return type, fields, inputs, [result] if torch.is_tensor(result) else list(result), parameters


def cases():
    options = itertools.product(("LSTM", "GRU"), (1, 2), (False, True), (False, True))
    for type, layers, batch_first, bidirectional in options:
        fields = {"input_size": 3, "hidden_size": 2 + 4 * layers, "num_layers": layers, "batch_first": batch_first,
                  "bidirectional": bidirectional}
        state = [values(layers * (1 + bidirectional), 2, fields["hidden_size"]) for _ in range(2 if type == "LSTM" else 1)]
        for inputs in ([values(2, 5, 3) if batch_first else values(5, 2, 3)],
                       [values(2, 4, 3) if batch_first else values(4, 2, 3), *state]):
            yield run(type, fields, inputs)
    for type in ("LSTM", "GRU"):
        yield run(type, {"input_size": 4, "hidden_size": 5, "bias": False, "dropout": 0.0}, [values(6, 4)])
        cell = {"input_size": 4, "hidden_size": 10}
        yield run(type + "Cell", cell, [values(3, 4)])
        yield run(type + "Cell", cell, [values(3, 4), *(values(3, 10) for _ in range(2 if type == "LSTM" else 1))])


golden.write("layers_recurrent.safetensors", cases())
