#!/usr/bin/env python3
"""RTNeural's models, converted, against the outputs its authors recorded: rtneural_test.py STRAND [--device cuda]

RTNeural feeds one sample at a time to models whose state starts at zero; causal networks give the same over the whole
signal. So both are done here: all of it at once, and, on the CPU, models of one input channel as a stream of single samples.
The tolerances are its authors' own: 1e-6, 5e-6 for GRUs.
"""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import convert

HERE = pathlib.Path(__file__).resolve().parent
DATA = pathlib.Path(os.environ.get("STRAND_DATA", HERE / "../../../shared/data")) / "rtneural"

CONV = """strand: 1
weights: {file}.safetensors
inputs: {{audio: {{shape: [1, {channels}, length], defaults: {{length: 1000}}}}}}
layers:
  - {{name: conv, type: Conv1d, weights: '', {fields}}}
"""


MICROTCN = """strand: 1
weights: microtcn.safetensors
inputs: {audio: {shape: [1, 1, length], defaults: {length: 1000}}}
layers:
  - {name: conv1, type: Conv1d, in_channels: 1, out_channels: 32, kernel_size: 4, dilation: 10, bias: false}
  - {name: bn, type: BatchNorm1d, num_features: 32}
  - {name: relu, type: PReLU, num_parameters: 32}
  - {name: res, type: Conv1d, inputs: audio, in_channels: 1, out_channels: 32, kernel_size: 1, bias: false}
  - {name: crop, type: Slice, dim: 2, start: 30}
  - {name: sum, type: Add, inputs: [relu, crop]}
"""


def csv(name):
    """Rows of numbers."""
    lines = (DATA / "test_data" / name).read_text().split()
    return [[float(x) for x in line.split(",")] for line in lines]


def write_npy(path, rows):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {len(rows)}, {len(rows[0])})}}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    values = [x for row in rows for x in row]
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
                     struct.pack(f"<{len(values)}f", *values))


def read_npy(path):
    raw = path.read_bytes()
    start = 10 + struct.unpack("<H", raw[8:10])[0]
    kind = "d" if b"<f8" in raw[:start] else "f"
    return struct.unpack(f"<{(len(raw) - start) // struct.calcsize(kind)}{kind}", raw[start:])


def compare(name, how, y, expected, tolerance):
    want = [v for row in expected for v in row]
    if len(y) != len(want):
        sys.exit(f"{name}, {how}: {len(y)} values, expected {len(want)}")
    worst = max(abs(a - b) for a, b in zip(y, want))
    print(f"{name}, {how}: {worst:.2g} off, {tolerance:g} allowed")
    if not worst <= tolerance:
        sys.exit(f"{name}, {how}: too far off")


def check(folder, name, x, expected, tolerance, run):
    write_npy(folder / "x.npy", x)
    for precision in ("float32", "float64"):
        if precision == "float64" and "--device" in run:
            continue
        subprocess.run([*run, f"{folder / name}.yaml", "--input", f"{folder / 'x.npy'}", "--output",
                        f"{folder / 'y.npy'}", "--precision", precision], check=True, stdout=subprocess.DEVNULL)
        compare(name, precision, read_npy(folder / "y.npy"), expected, tolerance)
    if len(x) != 1 or "--device" in run:
        return
    stream = subprocess.run([run[0], "stream", f"{folder / name}.yaml", "--rate", "48000", "--chunk", "1"], check=True,
                            input=struct.pack(f"<{len(x[0])}f", *x[0]), stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL).stdout
    frames = struct.unpack(f"<{len(stream) // 4}f", stream)
    channels = len(expected)
    compare(name, "a sample at a time", [v for c in range(channels) for v in frames[c::channels]], expected, tolerance)


def column(name):
    return [[row[0] for row in csv(name)]]


def main():
    strand, *options = sys.argv[1:]
    run = [strand, "run", *options]
    if not DATA.is_dir():
        print(f"SKIPPED: no {DATA}")
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        models = DATA / "models"
        for name, tolerance in (("dense", 1e-6), ("conv", 1e-6), ("gru", 5e-6), ("gru_1d", 5e-6), ("lstm", 1e-6)):
            convert.convert(models / f"{name}.json", folder / name)
            check(folder, name, column(f"{name}_x_python.csv"), column(f"{name}_y_python.csv"), tolerance, run)
        convert.convert(models / "lstm_torch.json", folder / "lstm_torch")
        (folder / "lstm_torch.yaml").write_text((HERE / "lstm_torch.yaml").read_text())
        check(folder, "lstm_torch", column("lstm_torch_x_python.csv"), column("lstm_torch_y_python.csv"), 1e-6, run)
        for name, channels, x, y, fields in (
                ("conv1d_torch", 1, "conv1d_torch_x_python", "conv1d_torch_y_python",
                 "in_channels: 1, out_channels: 12, kernel_size: 5"),
                ("conv1d_torch_stride_3", 1, "conv1d_torch_x_python_stride_3", "conv1d_torch_y_python_stride_3",
                 "in_channels: 1, out_channels: 12, kernel_size: 5, stride: 3"),
                ("conv1d_torch_group_6_3_3_1_3", 6, "conv1d_torch_group_x_python",
                 "conv1d_torch_group_y_python_6_3_3_1_3", "in_channels: 6, out_channels: 3, kernel_size: 3, groups: 3"),
                ("conv1d_torch_group_6_6_1_1_6", 6, "conv1d_torch_group_x_python",
                 "conv1d_torch_group_y_python_6_6_1_1_6", "in_channels: 6, out_channels: 6, kernel_size: 1, groups: 6")):
            convert.convert(models / f"{name}.json", folder / name)
            (folder / f"{name}.yaml").write_text(CONV.format(file=name, channels=channels, fields=fields))
            rows = csv(f"{x}.csv")
            check(folder, name, [list(column) for column in zip(*rows)] if len(rows) > channels else rows,
                  csv(f"{y}.csv"), 1e-6, run)
        states = {}
        for part in ("conv1", "bn", "relu", "res"):
            for key, value in json.loads((models / "microtcn" / f"{part}.json").read_text()).items():
                if isinstance(value, list):  # not eps, and num_batches_tracked
                    states[f"{part}.{key}"] = (convert.shape(value), convert.flat(value, convert.shape(value)))
        convert.write_safetensors(folder / "microtcn.safetensors", states)
        (folder / "microtcn.yaml").write_text(MICROTCN)
        check(folder, "microtcn", column("microtcn_x.csv"), csv("microtcn_y.csv"), 1e-6, run)
        try:
            convert.convert(models / "bad_lstm.json", folder / "bad")
            sys.exit("bad_lstm.json was taken")
        except convert.Bad as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    main()
