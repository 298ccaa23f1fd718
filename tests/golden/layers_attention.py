#!/usr/bin/env python3
"""Writes layers_attention.safetensors: attention and embeddings as PyTorch computes them in float64, from float32 values.

Run with a Python that has PyTorch (made with 1.13): layers_attention.py
"""

import math

import torch

import golden

torch.manual_seed(41)


def values(*shape):
    return torch.randn(shape).float().double()


def causal(length, source):
    return torch.full((length, source), -math.inf).double().triu(1)


def dot_product(fields, q, k, v, mask=None):
    """torch.nn.functional.scaled_dot_product_attention by its documentation: PyTorch 1.13 has no public one."""
    heads = fields.get("num_heads", 1)
    inputs = [q, k, v] if mask is None else [q, k, v, mask]
    if heads > 1:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(-2, -3) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) * fields.get("scale", 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores + mask
    if fields.get("is_causal"):
        scores = scores + causal(*scores.shape[-2:])
    y = scores.softmax(-1) @ v
    if heads > 1:
        y = y.transpose(-2, -3).flatten(-2)
    return "ScaledDotProductAttention", fields, inputs, [y], {}


def dot_products():
    q, k, v = values(2, 3, 5, 4), values(2, 3, 7, 4), values(2, 3, 7, 6)
    yield dot_product({}, q, k, v)
    yield dot_product({"scale": 0.3}, q[0], k[0], v[0])
    yield dot_product({"is_causal": True}, q, k, v)
    yield dot_product({"is_causal": True}, k, q, values(2, 3, 5, 2))
    for shape in ((5, 7), (3, 1, 7), (2, 1, 5, 7)):
        yield dot_product({}, q, k, v, values(*shape))
    q, k, v = values(2, 5, 12), values(2, 9, 12), values(2, 9, 6)
    for heads in (2, 3, 6):
        yield dot_product({"num_heads": heads}, q, k, v)
    yield dot_product({"num_heads": 3}, q, k, v, values(3, 5, 9))
    mask = values(5, 9)
    mask[0, 2] = mask[3, 5:] = -math.inf
    yield dot_product({"num_heads": 2}, q, k, v, mask)


def multihead(fields, query, key=None, value=None, mask=None):
    options = {name: field for name, field in fields.items() if name != "is_causal"}
    module = torch.nn.MultiheadAttention(**options).eval()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape) / (1 if parameter.dim() == 1 else math.sqrt(parameter.shape[1]))
    parameters = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    given = key if key is not None else query
    axis = 1 if fields.get("batch_first") and query.dim() == 3 else 0
    total = mask
    if fields.get("is_causal"):
        total = causal(query.shape[axis], given.shape[axis])
    with torch.no_grad():
        y, _ = module.double()(query, given, value if value is not None else given, attn_mask=total)
    inputs = [query, key, value, mask]
    while inputs[-1] is None:
        inputs.pop()
    return "MultiheadAttention", fields, inputs, [y], parameters


def multiheads():
    for heads in (1, 2, 6):
        yield multihead({"embed_dim": 12, "num_heads": heads, "batch_first": True}, values(2, 5, 12))
    fields = {"embed_dim": 12, "num_heads": 3, "dropout": 0.1}
    yield multihead(fields, values(5, 2, 12))
    yield multihead(fields, values(5, 12))
    yield multihead({**fields, "bias": False}, values(5, 2, 12), values(7, 2, 12))
    yield multihead({**fields, "batch_first": True}, values(2, 5, 12), values(2, 7, 12), values(2, 7, 12))
    yield multihead({**fields, "kdim": 5, "vdim": 8}, values(5, 2, 12), values(7, 2, 5), values(7, 2, 8))
    yield multihead({**fields, "batch_first": True, "is_causal": True}, values(2, 5, 12))
    yield multihead({**fields, "batch_first": True}, values(2, 5, 12), mask=values(5, 5))
    yield multihead(fields, values(5, 2, 12), values(7, 2, 12), mask=values(6, 5, 7))


def sinusoids(count, features):
    angles = torch.arange(count).double()[:, None] / 10000 ** (torch.arange(0, features, 2).double() / features)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :features]


def embeddings():
    module = torch.nn.Embedding(7, 5, padding_idx=2)
    x = torch.tensor([[0, 6, 3], [2, 2, 1]])
    fields = {"num_embeddings": 7, "embedding_dim": 5, "padding_idx": 2}
    yield "Embedding", fields, [x.float()], [module(x).detach()], module.state_dict()
    x, table = values(2, 3, 6, 5), values(8, 5)
    fields = {"num_embeddings": 8, "embedding_dim": 5}
    yield "PositionalEmbedding", fields, [x], [x + table[:6]], {"weight": table}
    named = {**fields, "dim": -2, "parameter": "table"}
    yield "PositionalEmbedding", named, [x.mT], [x.mT + table[:6].T], {"table": table}
    yield "PositionalEmbedding", {**fields, "sinusoidal": True}, [x], [x + sinusoids(8, 5)[:6]], {}
    yield "PositionalEmbedding", {**fields, "dim": 2, "sinusoidal": True}, [x.mT], [x.mT + sinusoids(8, 5)[:6].T], {}
    factors = values(3)
    yield "LayerScale", {"channels": 3}, [x], [x * factors[:, None, None]], {"gamma": factors}
    factors = values(5)
    yield "LayerScale", {"channels": 5, "dim": -1, "parameter": "scale"}, [x], [x * factors], {"scale": factors}


def main():
    golden.write("layers_attention.safetensors", [*dot_products(), *multiheads(), *embeddings()])


if __name__ == "__main__":
    main()
