#!/usr/bin/env python3
"""Writes the malformed files that the readers must refuse (and a few odd ones that they must accept).

    make_bad_inputs.py FOLDER

Needs Python's standard library only. `manifest.tsv`, beside this script, says what each file must lead to; the two must
name the same files.
"""

import binascii
import json
import struct
import sys
import zlib
from pathlib import Path

FILES = {}  # name -> bytes


def add(name, data):
    if name in FILES:
        raise ValueError(f"two files named {name}")
    FILES[name] = data


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


# ---------------------------------------------------------------------------------------------------- safetensors


def tensor(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one_tensor(fields, data=floats(1)):
    """A file with one tensor whose entry is the given JSON text."""
    return safetensors(b'{"w":' + fields + b"}", data)


def add_safetensors():
    four, pair = floats(1, 2, 3, 4), floats(5, 6)
    entry = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    bad = {
        # The length and the ends of the header.
        "empty": b"",
        "7bytes": b"\x07\0\0\0\0\0\0",
        "hdr_huge": struct.pack("<Q", 1 << 63) + b"{}",
        "hdr_100MB_plus": struct.pack("<Q", 100_000_001) + b"{}",
        "hdr_past_eof": safetensors({}, length=99),
        "hdr_wrap": struct.pack("<Q", (1 << 64) - 1) + b"{}",
        "hdr_zero": struct.pack("<Q", 0),
        # The JSON.
        "not_brace": safetensors(b'\n{"w":0}'),
        "array_root": safetensors(b"[]"),
        "bad_utf8": safetensors(b'{"w\xc3(":' + entry + b"}", floats(1)),
        "surrogate": safetensors(b'{"w\xed\xa0\x80":' + entry + b"}", floats(1)),
        "lone_escape": safetensors(b'{"w\\ud800":' + entry + b"}", floats(1)),
        "trunc_json": safetensors(b'{"w":{"dtype":"F32","sh'),
        "json_trailing": safetensors(b"{} {}"),
        "nul_padding": safetensors(b"{}\0\0\0\0\0\0"),
        "json_comment": safetensors(b"{/**/}"),
        "deep": safetensors(b'{"w":' + b"[" * 150_000 + b"]" * 150_000 + b"}"),
        "deep_objects": safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        "dup_key": safetensors(
            b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
            b'"w":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}}',
            four + pair,
        ),
        "dup_key_escaped": safetensors(
            b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
            b'"\\u0077":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}}',
            four + pair,
        ),
        # One entry.
        "entry_null": safetensors({"w": None}),
        "entry_list": safetensors({"w": [1, 2]}),
        "missing_field": one_tensor(b'{"dtype":"F32","shape":[1]}'),
        "unknown_field": one_tensor(b'{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]}'),
        "dup_field": one_tensor(b'{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}'),
        "dtype_number": one_tensor(b'{"dtype":32,"shape":[1],"data_offsets":[0,4]}'),
        "dtype_unknown": one_tensor(b'{"dtype":"F8_E9","shape":[4],"data_offsets":[0,4]}'),
        "dtype_lower": one_tensor(b'{"dtype":"f32","shape":[1],"data_offsets":[0,4]}'),
        "shape_number": one_tensor(b'{"dtype":"F32","shape":1,"data_offsets":[0,4]}'),
        "shape_string": one_tensor(b'{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}'),
        "shape_nested": one_tensor(b'{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}'),
        "shape_float": one_tensor(b'{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}'),
        "shape_true": one_tensor(b'{"dtype":"F32","shape":[true],"data_offsets":[0,4]}'),
        "shape_neg": one_tensor(b'{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}'),
        "shape_2_63": one_tensor(b'{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}'),
        "shape_mul_wrap": safetensors({"w": tensor([1 << 32, 1 << 32], 0, 0)}),
        "shape_bytes_wrap": safetensors({"w": tensor([1 << 62], 0, 0)}),
        "shape_mismatch": safetensors({"w": tensor([512, 512], 0, 16)}, four),
        "shape_smaller": safetensors({"w": tensor([3], 0, 16)}, four),
        "rank_100": safetensors({"w": tensor([1] * 100, 0, 4)}, floats(1)),
        "rank_9": safetensors({"w": tensor([1] * 9, 0, 4)}, floats(1)),
        "offsets_one": one_tensor(b'{"dtype":"F32","shape":[1],"data_offsets":[4]}'),
        "offsets_three": one_tensor(b'{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}'),
        "negative": one_tensor(b'{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}'),
        "float_off": one_tensor(b'{"dtype":"F32","shape":[1],"data_offsets":[0,4.25]}', floats(1) + b"\0"),
        "exponent_off": one_tensor(b'{"dtype":"F32","shape":[1],"data_offsets":[0,4e0]}'),
        "u64_plus": one_tensor(b'{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551620]}'),
        "reversed": safetensors({"w": tensor([1], 4, 0)}, floats(1)),
        # The entries together.
        "overlap": safetensors({"a": tensor([4], 0, 16), "b": tensor([3], 12, 24)}, four + pair),
        "same_range": safetensors({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, floats(1)),
        "hole": safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 16, 24)}, four + pair),
        "hole_first": safetensors({"a": tensor([2], 16, 24)}, four + pair),
        "trailing": safetensors({"a": tensor([2], 0, 8)}, four),
        "trailing_no_tensor": safetensors({}, four),
        "short_data": safetensors({"a": tensor([8], 0, 32)}, four),
        # The metadata.
        "meta_nonstring": safetensors({"__metadata__": {"n": [1]}, "a": tensor([1], 0, 4)}, floats(1)),
        "meta_list": safetensors({"__metadata__": [], "a": tensor([1], 0, 4)}, floats(1)),
        "meta_dup": safetensors(b'{"__metadata__":{"n":"1","n":"2"}}'),
        "meta_twice": safetensors(b'{"__metadata__":{},"__metadata__":{}}'),
        # Odd, but right.
        "nan_inf": safetensors({"a": tensor([3], 0, 12)}, floats(float("nan"), float("inf"), -float("inf"))),
        "zero_dim_ok": safetensors({"a": tensor([0, 7], 0, 0)}),
        "zero_between_ok": safetensors({"a": tensor([1], 0, 4), "b": tensor([0], 4, 4), "c": tensor([1], 4, 8)}, pair),
        "no_tensor_ok": safetensors({}),
        "scalar_ok": safetensors({"a": tensor([], 0, 4)}, floats(1)),
        "padded_ok": safetensors(b'{"__metadata__":{"format":"pt"},"w":' + entry + b"}     ", floats(1)),
        "unsorted_ok": safetensors({"a": tensor([2], 8, 16), "b": tensor([2], 0, 8)}, four),
    }
    for name, data in bad.items():
        add(f"st_{name}.safetensors", data)


# ------------------------------------------------------------------------------------------------------------ npy


def dictionary(descr="'<f4'", order="False", shape="(2, 3)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def npy(header, data=b"", major=1, minor=0, length=None, magic=b"\x93NUMPY"):
    text = header.encode("latin-1")
    size = struct.pack("<H" if major == 1 else "<I", len(text) if length is None else length)
    return magic + bytes([major, minor]) + size + text + data


SIX = floats(0, 1, 2, 3, 4, 5)


def add_npy():
    order = "{'fortran_order': False, "
    bad = {
        "empty": b"",
        "magic": npy(dictionary(), SIX, magic=b"\x93NUMBY"),
        "magic_only": b"\x93NUMPY",
        "v0": npy(dictionary(), SIX, major=0),
        "v9": npy(dictionary(), SIX, major=9),
        "v1_1": npy(dictionary(), SIX, minor=1),
        "hdr4g": npy("", major=2, length=0xFFFFFFFF),
        "hdr_past_eof": npy(dictionary(), length=50_000),
        "hdr_long": npy(dictionary() + " " * 100_000, SIX, major=2),
        "hdr_nul": npy("\0" * 54, SIX),
        "object": npy(dictionary("'|O'", shape="(1,)"), b"\x80\x04N."),
        "struct": npy(dictionary("[('re', '<f4'), ('im', '<f4')]", shape="(3,)"), SIX),
        "bigendian": npy(dictionary("'>f4'"), SIX),
        "complex": npy(dictionary("'<c8'", shape="(3,)"), SIX),
        "unicode": npy(dictionary("'<U6'", shape="(1,)"), SIX),
        "descr_ixy": npy(dictionary("'<fxy'"), SIX),
        "descr_size": npy(dictionary("'<f4294967300'"), SIX),
        "descr_escape": npy(dictionary(r"'<f\x34'"), SIX),
        "eval": npy(dictionary("__import__('sys').exit(3)"), SIX),
        "order_number": npy(dictionary(order="0"), SIX),
        "shape_wrap": npy(dictionary(shape="(4294967296, 4294967296)")),
        "shape_bytes_wrap": npy(dictionary(shape="(4611686018427387904,)")),
        "shape_2_64": npy(dictionary(shape="(18446744073709551617,)"), floats(1)),
        "shape_huge": npy(dictionary(shape="(1000, 1000, 300)")),
        "shape_neg": npy(dictionary(shape="(-2, -3)"), SIX),
        "shape_number": npy(dictionary(shape="6"), SIX),
        "shape_parens": npy(dictionary(shape="(6)"), SIX),
        "shape_list": npy(dictionary(shape="[2, 3]"), SIX),
        "shape_float": npy(dictionary(shape="(2.0, 3)"), SIX),
        "shape_sum": npy(dictionary(shape="(1+1, 3)"), SIX),
        "shape_comma": npy(dictionary(shape="(2,, 3)"), SIX),
        "rank_33": npy(dictionary(shape="(" + "1, " * 33 + ")"), floats(1)),
        "short": npy(dictionary(), SIX[:17]),
        "trailing": npy(dictionary(), SIX + b"\0\0\0\0"),
        "no_shape": npy("{'descr': '<f4', 'fortran_order': False}\n", SIX),
        "no_order": npy("{'descr': '<f4', 'shape': (2, 3)}\n", SIX),
        "unknown_key": npy(order + "'descr': '<f4', 'shape': (2, 3), 'strides': (12, 4)}\n", SIX),
        "dup_key": npy(order + "'descr': '<f4', 'shape': (2, 3), 'shape': (6,)}\n", SIX),
        "unclosed": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)\n", SIX),
        "after_dict": npy(dictionary() + ";", SIX),
        "fortran": npy(dictionary(order="True"), SIX),
        "v2_ok": npy(dictionary(), SIX, major=2),
        "v3_ok": npy(dictionary(), SIX, major=3),
        "scalar_ok": npy(dictionary(shape="()"), floats(1)),
        "zero_ok": npy(dictionary(shape="(3, 0, 2)")),
        "quotes_ok": npy('{"descr":"<f4","fortran_order":False,"shape":(2,3)}', SIX),
    }
    for name, data in bad.items():
        add(f"npy_{name}.npy", data)


# ------------------------------------------------------------------------------------------------------------ npz


class Member:
    """One file of a zip archive, with every field of its headers open to lies."""

    def __init__(self, name, data, method=0, crc=None, size=None, flags=0):
        self.name = name
        self.size = len(data) if size is None else size
        self.crc = binascii.crc32(data) if crc is None else crc
        self.method, self.flags = method, flags
        if method == 8:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            data = packer.compress(data) + packer.flush()
        self.packed = data

    def fields(self):
        first_day = (1 << 5) | 1  # 1980-01-01
        sizes = (self.crc, len(self.packed), self.size, len(self.name), 0)
        return struct.pack("<HHHHHIIIHH", 20, self.flags, self.method, 0, first_day, *sizes)


def archive(*members):
    body = directory = b""
    for m in members:
        place = struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += b"PK\1\2" + struct.pack("<H", 20) + m.fields() + place + m.name
        body += b"PK\3\4" + m.fields() + m.name + m.packed
    count = len(members)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


def add_npz():
    good = npy(dictionary(), SIX)
    whole = archive(Member(b"w.npy", good))
    bomb = npy(dictionary(shape="(60000000,)"), bytes(240_000_000))
    bombs = [Member(b"w%d.npy" % i, npy(dictionary(shape="(6000000,)"), bytes(24_000_000)), method=8) for i in range(8)]
    packed_cut = archive(Member(b"w.npy", good, method=8, size=len(good) + 7))
    bad = {
        "empty": b"",
        "notzip": b"PK\3\4" + bytes(50),
        "trunc": whole[:-31],
        "crc": whole.replace(SIX, SIX[::-1]),
        "crc_deflated": archive(Member(b"w.npy", good, method=8, crc=1)),
        "size_lie": packed_cut,
        "size_lie_stored": archive(Member(b"w.npy", good, size=1 << 31)),
        "size_lie_deflated": archive(Member(b"w.npy", good, method=8, size=1 << 31)),
        "dup": archive(Member(b"w.npy", good), Member(b"w.npy", good)),
        "traversal": archive(Member(b"../../tmp/w.npy", good)),
        "slash": archive(Member(b"net/w.npy", good)),
        "backslash": archive(Member(b"..\\w.npy", good)),
        "folder": archive(Member(b"folder/", b"")),
        "bomb": archive(Member(b"w.npy", bomb, method=8)),
        "bomb_many": archive(*bombs),
        "method": archive(Member(b"w.npy", good, method=97)),
        "encrypted": archive(Member(b"w.npy", good, flags=1)),
        "hdrlen": archive(Member(b"w.npy", npy(dictionary(), length=65_535))),
        "member_bad": archive(Member(b"w.npy", npy(dictionary("'|O'"), SIX))),
        "nonnpy": archive(Member(b"readme.txt", b"no array")),
        "deflated_ok": archive(Member(b"w.npy", good, method=8)),
        "two_ok": archive(Member(b"w.npy", good), Member(b"b.npy", good)),
        "no_member_ok": archive(),
    }
    for name, data in bad.items():
        add(f"npz_{name}.npz", data)


# ----------------------------------------------------------------------------------------------------------- yaml


def add_yaml():
    doubling = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 11))
    bad = {
        "deep_flow": b"[" * 120_000,
        "deep_block": b"- " * 150_000 + b"end\n",
        "bomb": ("l0: &l0 [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n" + doubling).encode(),
        "cycle": b"layers: &loop [*loop]\n",
        "dupkey": b"name: first\nname: second\n",
        "octal": b"layers: [{type: Conv1d, kernel_size: 010}]\n",
        "quoted": b'layers: [{type: Conv1d, kernel_size: "3"}]\n',
        "multi": b"name: one\n---\nname: two\n",
        "empty": b"",
        "nonutf8": b"name: caf\xe9\n",
        "nul": b"name: a\0b\n",
        "merge": b"base: &base {stride: 2}\nother:\n  <<: *base\n",
        "tag": b"name: !!python/object/apply:os.getcwd []\n",
        "scalar_root": b"just words\n",
    }
    for name, data in bad.items():
        add(f"y_{name}.yaml", data)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    add_safetensors()
    add_npy()
    add_npz()
    add_yaml()
    manifest = Path(__file__).parent / "manifest.tsv"
    rows = [line.split("\t")[0] for line in manifest.read_text().splitlines() if line and not line.startswith("#")]
    if sorted(rows) != sorted(FILES):
        sys.exit(f"{manifest.name} and this script differ in: {sorted(set(rows) ^ set(FILES))}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
