#!/usr/bin/env python3
"""ONNX's own cases against the outputs recorded with them: onnx_test.py STRAND

Each model becomes a description, its weights and a run on the CPU in float32 and in float64, and on CUDA where there is a
device; a causal convolution with a state is streamed too. The tolerance is ONNX's own. What has no layer here, or another meaning, is left out and says why; a training
output (the mean and deviation of LayerNormalization) is not compared.
"""

import collections
import concurrent.futures
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import layers
from onnx import Left, Tensor, load_model, load_tensor

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "rtneural"))
import convert  # noqa: E402

DATA = pathlib.Path(os.environ.get("STRAND_DATA", HERE / "../../../shared/data")) / "onnx"
RTOL, ATOL = 1e-3, 1e-7
LEAST = 192  # cases, so that none is left out without being noticed

class Failed(Exception):
    pass


Ref = collections.namedtuple("Ref", "name shape")


class Builder:
    """A description that grows by layers. Of ONNX's values some are constants; the others become inputs when they are used."""

    def __init__(self, graph, given):
        self.opset, self.values = graph.opset, {**graph.constants, **given}
        self.fixed = set(graph.constants)
        self.inputs, self.described, self.weights = {}, [], {}
        self.outputs = 0  # of the node in work

    def is_constant(self, name):
        return name in self.fixed

    def constant(self, name):
        if not isinstance(self.values[name], Tensor):
            raise Left("computes what is a weight here")
        return self.values[name]

    def shape(self, x):
        value = x if isinstance(x, Ref) else self.values[x]
        return list(value.shape)

    def hold(self, tensor):
        shape = tensor.shape or [1]
        if 0 in shape:
            raise Left("is about tensors without elements")
        name = f"x{len(self.inputs)}"
        self.inputs[name] = Tensor(shape, tensor.values)
        return Ref(name, shape)

    def ref(self, x):
        if isinstance(x, Ref):
            return x
        if isinstance(self.values[x], Tensor):
            self.values[x] = self.hold(self.values[x])
        return self.values[x]

    def layers(self, type, x, settings, ports, parameters={}):
        refs = [self.ref(i) for i in (x if isinstance(x, list) else [x])]
        if "padding" in settings and isinstance(settings["padding"], list) and len(set(settings["padding"])) == 1:
            settings["padding"] = settings["padding"][0]
        name = f"layer{len(self.described)}"
        self.described.append({"name": name, "type": type, "inputs": [r.name for r in refs], **settings})
        self.weights.update({f"{name}.{key}": tensor for key, tensor in parameters.items()})
        shape = list(refs[0].shape) if refs[0].shape else None
        if type == "Reshape":
            shape = settings["shape"]
        elif type == "Unsqueeze" and shape:
            shape.insert(settings["dim"] % (len(shape) + 1), 1)
        elif type == "Squeeze" and shape:
            del shape[settings["dim"]]
        elif type not in ("Abs", "Multiply", "Sigmoid", "Identity"):
            shape = None  # and nobody asks for it
        self.last = Ref(name, shape)
        return [Ref(name if i == 0 else f"{name}:{port}", None) for i, port in enumerate(ports)]

    def layer(self, type, x, settings={}, parameters={}):
        self.layers(type, x, dict(settings), ["output"], parameters)
        return self.last

    def node(self, node):
        if node.op == "Constant":
            return [node.attributes["value"]]
        if node.op == "Transpose" and self.is_constant(node.inputs[0]):
            return [layers.transposed(self.constant(node.inputs[0]))]
        if node.op not in layers.OPERATORS:
            raise Left(f"has no layer here for {node.op}")
        self.outputs = len(node.outputs)
        result = layers.OPERATORS[node.op](self, node.attributes, *[name or None for name in node.inputs])
        return result if isinstance(result, list) else [self.last]


def build(folder, graph, given):
    """Writes net.yaml, w.safetensors and x.safetensors; gives the names of the outputs that they compute."""
    builder = Builder(graph, given)
    for node in graph.nodes:
        for name, value in zip(node.outputs, builder.node(node)):
            builder.values[name] = value
    outputs = {f"y{i}": builder.ref(name).name for i, name in enumerate(graph.outputs) if name in builder.values}
    needed = {reference.split(":")[0] for reference in outputs.values()}
    for layer in reversed(builder.described):  # an output that the model has no name for needs nothing
        if layer["name"] in needed:
            needed.update(reference.split(":")[0] for reference in layer["inputs"])
    described = [layer for layer in builder.described if layer["name"] in needed]
    description = {"strand": 1, "layers": described, "outputs": outputs,
                   "inputs": {name: {"shape": t.shape} for name, t in builder.inputs.items()}}
    if builder.weights:
        description["weights"] = "w.safetensors"
        convert.write_safetensors(folder / "w.safetensors", {k: (t.shape, t.values) for k, t in builder.weights.items()})
    convert.write_safetensors(folder / "x.safetensors", {k: (t.shape, t.values) for k, t in builder.inputs.items()})
    (folder / "net.yaml").write_text(json.dumps(description))
    return list(outputs)


def read_safetensors(path):
    raw = path.read_bytes()
    size = 8 + struct.unpack("<Q", raw[:8])[0]
    result = {}
    for name, entry in json.loads(raw[8:size]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            kind = {"F32": "f", "F64": "d"}[entry["dtype"]]
            values = struct.unpack(f"<{(end - begin) // struct.calcsize(kind)}{kind}", raw[size + begin:size + end])
            result[name] = (entry["shape"], values)
    return result


def compare(case, name, result, expected):
    shape, values = result
    if [n for n in shape if n != 1] != [n for n in expected.shape if n != 1] or len(values) != len(expected.values):
        raise Failed(f"{case}: {name} is {shape}, expected {expected.shape}")
    for i, (y, want) in enumerate(zip(values, expected.values)):
        if not (abs(y - want) <= ATOL + RTOL * abs(want) or y == want or (math.isnan(y) and math.isnan(want))):
            raise Failed(f"{case}: {name}[{i}] is {y}, expected {want}")


def device_runs(strand):
    """The ways to run a network; CUDA's only where it can."""
    runs = [[strand, "run", "--precision", precision] for precision in ("float32", "float64")]
    cuda = [strand, "run", "--device", "cuda"]
    probe = subprocess.run([*cuda, HERE / "../../examples/networks/nam_lstm.yaml", "--random"], capture_output=True, text=True)
    if probe.returncode == 0:
        return [*runs, cuda]
    if os.environ.get("STRAND_REQUIRE_CUDA") == "1" or "CUDA" not in probe.stderr:
        sys.exit(probe.stderr)
    print(f"SKIPPED: no CUDA device: {probe.stderr.strip()}")
    return runs


def run_case(strand, folder, case, runs):
    graph = load_model(case / "model.onnx")
    if not graph.tensors_only:
        raise Left("is about sequences of tensors")
    data = case / "test_data_set_0"
    given = {name: load_tensor(data / f"input_{i}.pb") for i, name in enumerate(n for n in graph.inputs if n)}
    names = build(folder, graph, given)
    expected = {name: load_tensor(data / f"output_{name[1:]}.pb") for name in names}
    for run in runs:
        (folder / "y.safetensors").unlink(missing_ok=True)
        done = subprocess.run([*run, folder / "net.yaml", "--input", folder / "x.safetensors", "--output",
                               folder / "y.safetensors"], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{case.name}: {done.stderr}\n{(folder / 'net.yaml').read_text()}")
        outputs = read_safetensors(folder / "y.safetensors")
        for name in names:
            compare(f"{case.name} ({' '.join(run[2:])})", name, outputs[name], expected[name])
    if graph.nodes[0].op == "CausalConvWithState":
        check_streamed(strand, folder, case, graph, given, expected["y0"])


def check_streamed(strand, folder, case, graph, given, expected):
    """The same without a state to hand over: what stands in it is pushed first, and the stream keeps it."""
    node = graph.nodes[0]
    x, w, bias, past = (given.get(name) for name in [*node.inputs, "", ""][:4])
    (batch, channels, length), taps = x.shape, w.shape[2]
    before = taps - 1 if past else 0
    layers = [{"name": "conv", "type": "Conv1d", "in_channels": channels, "out_channels": channels, "kernel_size": taps,
               "groups": channels, "padding": "causal", "bias": bool(bias)}]
    if node.attributes.get("activation") == "silu":
        layers.append({"name": "silu", "type": "SiLU"})
    weights = {"conv.weight": w, **({"conv.bias": bias} if bias else {})}
    convert.write_safetensors(folder / "w.safetensors", {k: (t.shape, t.values) for k, t in weights.items()})
    (folder / "net.yaml").write_text(f"""strand: 1
weights: w.safetensors
inputs: {{x: {{shape: [1, {channels}, length], rate: 16000}}}}
layers: {json.dumps(layers)}
""")
    for n in range(batch):
        rows = range(n * channels, (n + 1) * channels)
        signal = [x.values[r * length:(r + 1) * length] for r in rows]
        if past:
            signal = [past.values[r * before:(r + 1) * before] + row for r, row in zip(rows, signal)]
        wanted = [expected.values[r * length + t] for t in range(length) for r in rows]
        samples = [row[t] for t in range(before + length) for row in signal]
        for chunk in ("1", "3"):
            done = subprocess.run([strand, "stream", folder / "net.yaml", "--chunk", chunk], capture_output=True,
                                  input=struct.pack(f"<{len(samples)}f", *samples))
            if done.returncode != 0:
                raise Failed(f"{case.name}, streamed: {done.stderr.decode()}")
            y = struct.unpack(f"<{len(done.stdout) // 4}f", done.stdout)[before * channels:]
            compare(f"{case.name} (streamed by {chunk})", f"y[{n}]", ([length, channels], y), Tensor([length, channels], wanted))


def main():
    strand = sys.argv[1]
    if not DATA.is_dir():
        print(f"SKIPPED: no {DATA}")
        return
    runs = device_runs(strand)
    ran, left, failed = 0, collections.defaultdict(list), []

    def outcome(case):
        with tempfile.TemporaryDirectory() as folder:
            try:
                run_case(strand, pathlib.Path(folder), case, runs)
            except (Left, Failed) as why:
                return why

    cases = sorted(path for suite in ("pytorch-converted", "node") for path in (DATA / suite).iterdir())
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for case, why in zip(cases, pool.map(outcome, cases)):
            if isinstance(why, Left):
                left[str(why)].append(case.name)
            elif why:
                failed.append(str(why))
            else:
                ran += 1
    for why, names in sorted(left.items()):
        print(f"left out, {why}: {', '.join(names)}")
    print(f"{ran} cases agree with ONNX's outputs, {sum(map(len, left.values()))} are left out")
    if failed or ran < LEAST:
        sys.exit("\n".join([*failed, f"{len(failed)} failed; at least {LEAST} must agree"]))


if __name__ == "__main__":
    main()
