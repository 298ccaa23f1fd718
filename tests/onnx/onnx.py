"""Reads what tests need of ONNX's files: models as nodes and constants, and tensors. Nothing but the protobuf wire format."""

import collections
import math
import struct

Tensor = collections.namedtuple("Tensor", "shape values")
Node = collections.namedtuple("Node", "op inputs outputs attributes")
Graph = collections.namedtuple("Graph", "opset nodes constants inputs outputs tensors_only")


class Left(Exception):
    """Why a case is left out."""


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields(data):
    """Field number -> its values in order: integers, or bytes."""
    result, at = collections.defaultdict(list), 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size, at = {1: (8, at), 2: None, 5: (4, at)}[key & 7] or varint(data, at)
            value, at = data[at:at + size], at + size
        result[key >> 3].append(value)
    return result


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def integers(values):
    """A repeated field of integers, packed or not."""
    result = []
    for value in values:
        if isinstance(value, int):
            result.append(signed(value))
            continue
        at = 0
        while at < len(value):
            number, at = varint(value, at)
            result.append(signed(number))
    return result


def tensor(data):
    field = fields(data)
    shape, kind = integers(field[1]), field[2][0]
    count = math.prod(shape)
    formats = {1: "f", 6: "i", 7: "q", 9: "?", 11: "d"}
    if kind not in formats:
        raise Left("holds float16" if kind == 10 else f"holds elements of kind {kind}")
    if field[9]:
        values = struct.unpack(f"<{count}{formats[kind]}", field[9][0])
    elif kind in (1, 11):
        raw = b"".join(field[4 if kind == 1 else 10])
        values = struct.unpack(f"<{count}{formats[kind]}", raw)
    else:
        values = integers(field[7 if kind == 7 else 5])
    return Tensor(shape, list(values))


def attribute(data):
    field = fields(data)
    kind = field[20][0] if field[20] else 0
    value = {1: lambda: struct.unpack("<f", field[2][0])[0], 2: lambda: signed(field[3][0]), 3: lambda: field[4][0].decode(),
             4: lambda: tensor(field[5][0]), 6: lambda: list(struct.unpack(f"<{len(b''.join(field[7])) // 4}f", b"".join(field[7]))),
             7: lambda: integers(field[8])}.get(kind, lambda: None)()
    return field[1][0].decode(), value


def node(data):
    field = fields(data)
    names = [[name.decode() for name in field[i]] for i in (1, 2)]
    return Node(field[4][0].decode(), *names, dict(attribute(a) for a in field[5]))


def load_model(path):
    model = fields(path.read_bytes())
    graph = fields(model[7][0])
    constants = {fields(t)[8][0].decode(): tensor(t) for t in graph[5]}
    values = [[fields(v) for v in graph[i]] for i in (11, 12)]
    names = [[v[1][0].decode() for v in list] for list in values]
    tensors_only = all(fields(v[2][0])[1] for list in values for v in list)
    opset = max(fields(o)[2][0] for o in model[8] if not o or not fields(o)[1] or not fields(o)[1][0]) if model[8] else 1
    return Graph(opset, [node(n) for n in graph[1]], constants, [n for n in names[0] if n not in constants], names[1], tensors_only)


def load_tensor(path):
    return tensor(path.read_bytes())
