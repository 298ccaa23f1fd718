"""ONNX's operators as strand's layers: each function takes a Builder, a node's attributes and the names of its inputs."""

import math

from onnx import Left, Tensor


def transposed(tensor):
    rows, columns = tensor.shape
    return Tensor([columns, rows], [tensor.values[r * columns + c] for c in range(columns) for r in range(rows)])


def reordered(tensor, blocks):
    """The rows of a [1, blocks * n, ...] tensor in another order of blocks, without its first axis."""
    size = len(tensor.values) // len(blocks)
    values = [v for block in blocks for v in tensor.values[block * size:(block + 1) * size]]
    return Tensor(tensor.shape[1:], values)


def one_axis(a, name, count, default):
    values = a.get(name) or [default] * count
    if len(values) != count:
        raise Left("has more than one spatial axis")
    return values


def conv(b, a, x, weight, bias=None):
    w, shape = b.constant(weight), b.shape(x)
    if len(shape) != 3 or a.get("auto_pad", "NOTSET") != "NOTSET":
        raise Left("is no convolution along one axis with paddings")
    b.layer("Conv1d", x, {"in_channels": shape[1], "out_channels": w.shape[0], "kernel_size": w.shape[2],
                          "stride": one_axis(a, "strides", 1, 1)[0], "dilation": one_axis(a, "dilations", 1, 1)[0],
                          "padding": one_axis(a, "pads", 2, 0), "groups": a.get("group", 1), "bias": bool(bias)},
            {"weight": w, **({"bias": b.constant(bias)} if bias else {})})


def conv_transpose(b, a, x, weight, bias=None):
    w, groups = b.constant(weight), a.get("group", 1)
    b.layer("ConvTranspose1d", x, {"in_channels": w.shape[0], "out_channels": w.shape[1] * groups, "kernel_size": w.shape[2],
                                   "stride": one_axis(a, "strides", 1, 1)[0], "dilation": one_axis(a, "dilations", 1, 1)[0],
                                   "padding": one_axis(a, "pads", 2, 0), "groups": groups, "bias": bool(bias)},
            {"weight": w, **({"bias": b.constant(bias)} if bias else {})})


def causal_conv(b, a, x, weight, bias=None, past=None):
    """With the samples before: the state that the convolution gives back is the last of them."""
    w, shape = b.constant(weight), b.shape(x)
    taps = w.shape[2]
    joined = x
    if past:
        joined = b.layer("Concat", [past, x], {"dim": 2})
    elif taps > 1:
        joined = b.layer("Pad", x, {"padding": [taps - 1, 0]})
    y = b.layer("Conv1d", joined, {"in_channels": shape[1], "out_channels": shape[1], "kernel_size": taps, "groups": shape[1],
                                   "bias": bool(bias)}, {"weight": w, **({"bias": b.constant(bias)} if bias else {})})
    if a.get("activation", "none") in ("silu", "swish"):
        y = b.layer("SiLU", y)
    if taps == 1:
        return [y]  # and nothing to keep
    return [y, b.layer("Slice", joined, {"dim": 2, "start": shape[2]})]


def pooled(type):
    def pool(b, a, x):
        kernel, rank = a["kernel_shape"], len(b.shape(x))
        across = rank == 4 and kernel[1] == 1 and b.shape(x)[3] == 1
        if across:  # one axis and a second of one element
            x, a = b.layer("Squeeze", x, {"dim": 3}), {k: v[:1] if k != "pads" else v[::2] for k, v in a.items() if isinstance(v, list)}
        pads = one_axis(a, "pads", 2, 0)
        if pads[0] != pads[1]:
            raise Left("pads its two ends by different amounts")
        settings = {"kernel_size": one_axis(a, "kernel_shape", 1, 1)[0], "stride": one_axis(a, "strides", 1, 1)[0],
                    "padding": pads[0], "ceil_mode": bool(a.get("ceil_mode", 0))}
        if type == "MaxPool1d":
            settings["dilation"] = one_axis(a, "dilations", 1, 1)[0]
        else:
            settings["count_include_pad"] = bool(a.get("count_include_pad", 0))
        y = b.layer(type, x, settings)
        return b.layer("Unsqueeze", y, {"dim": 3}) if across else y
    return pool


def over_flat(b, x, layer):
    """A layer for [N, C, L], on all spatial axes as one."""
    shape = b.shape(x)
    if len(shape) <= 3:
        return layer(x)
    y = layer(b.layer("Reshape", x, {"shape": [*shape[:2], math.prod(shape[2:])]}))
    return b.layer("Reshape", y, {"shape": shape})


def global_max(b, a, x):
    shape = b.shape(x)
    flat = b.layer("Reshape", x, {"shape": [*shape[:2], math.prod(shape[2:])]})
    y = b.layer("Max", flat, {"dim": 2, "keepdim": True})
    b.layer("Reshape", y, {"shape": [*shape[:2], *[1] * (len(shape) - 2)]})


def batch_norm(b, a, x, *parameters):
    if a.get("training_mode", 0):
        raise Left("trains")
    names = ("weight", "bias", "running_mean", "running_var")
    over_flat(b, x, lambda x: b.layer("BatchNorm1d", x, {"num_features": b.shape(x)[1], "eps": a.get("epsilon", 1e-5)},
                                      {n: b.constant(p) for n, p in zip(names, parameters)}))


def group_norm(b, a, x, scale, bias):
    b.layer("GroupNorm", x, {"num_groups": a["num_groups"], "num_channels": b.shape(x)[1], "eps": a.get("epsilon", 1e-5)},
            {"weight": b.constant(scale), "bias": b.constant(bias)})


def instance_norm(b, a, x, scale, bias):
    over_flat(b, x, lambda x: b.layer("InstanceNorm1d", x, {"num_features": b.shape(x)[1], "eps": a.get("epsilon", 1e-5),
                                                            "affine": True}, {"weight": b.constant(scale), "bias": b.constant(bias)}))


def layer_norm(type):
    def norm(b, a, x, scale, bias=None):
        shape = b.shape(x)
        b.layer(type, x, {"normalized_shape": shape[a.get("axis", -1) % len(shape):], "eps": a.get("epsilon", 1e-5)},
                {"weight": b.constant(scale), **({"bias": b.constant(bias)} if bias else {})})
    return norm


def lp_norm(b, a, x):
    p = a.get("p", 2)
    y = b.layer("Sum", b.layer("Abs" if p == 1 else "Square", x), {"dim": a.get("axis", -1), "keepdim": True})
    b.layer("Divide", [x, y if p == 1 else b.layer("Sqrt", y)])


def plain(type, **settings):
    """An activation whose attributes have other names here; defaults are ONNX's, as its standard gives them."""
    def activation(b, a, x):
        b.layer(type, x, {name: a.get(theirs, default) for name, (theirs, default) in settings.items()})
    return activation


def selu(b, a, x):
    y = b.layer("ELU", x, {"alpha": a.get("alpha", 1.67326319217681884765625)})
    b.layer("Multiply", y, {"value": a.get("gamma", 1.05070102214813232421875)})


def hard_sigmoid(b, a, x):
    y = b.layer("Multiply", x, {"value": a.get("alpha", 0.2)})
    b.layer("Clamp", b.layer("Add", y, {"value": a.get("beta", 0.5)}), {"min": 0, "max": 1})


def clip(b, a, x, low=None, high=None):
    bounds = {name: b.constant(bound).values[0] for name, bound in (("min", low), ("max", high)) if bound}
    b.layer("Clamp" if bounds else "Identity", x, bounds)


def swish(b, a, x):
    if a.get("alpha", 1) != 1:
        raise Left("has a factor inside its sigmoid")
    b.layer("SiLU", x)


def prelu(b, a, x, slope):
    slope, shape = b.constant(slope), b.shape(x)
    channels = [shape[1]] if b.opset < 7 else [shape[1], *[1] * (len(shape) - 2)]
    if len(slope.values) != 1 and slope.shape != channels:
        raise Left("has slopes along an axis that is not the channels'")
    b.layer("PReLU", x, {"num_parameters": len(slope.values)}, {"weight": Tensor([len(slope.values)], slope.values)})


def softmax(type):
    def over(b, a, x):
        rank = len(b.shape(x))
        axis = a.get("axis", -1 if b.opset >= 13 else 1) % rank
        if b.opset < 13 and axis != rank - 1:
            raise Left("is over all axes from one on, as before opset 13")
        b.layer(type, x, {"dim": axis})
    return over


def gemm(b, a, x, weight, bias=None):
    w = b.constant(weight)
    w = w if a.get("transB", 0) else transposed(w)
    w = Tensor(w.shape, [a.get("alpha", 1.0) * v for v in w.values])
    if a.get("transA", 0):
        x = b.layer("Transpose", x, {"dim0": 0, "dim1": 1})
    y = b.layer("Linear", x, {"in_features": w.shape[1], "out_features": w.shape[0], "bias": False}, {"weight": w})
    if bias:
        b.layer("Add", [b.layer("Multiply", bias, {"value": a.get("beta", 1.0)}), y])


def matmul(b, a, x, y):
    if min(len(b.shape(x)), len(b.shape(y))) < 2:
        raise Left("multiplies a vector")
    b.layer("MatMul", [x, y])


def combined(type):
    def combine(b, a, *inputs):
        b.layer(type if len(inputs) > 1 else "Identity", list(inputs))
    return combine


def extreme(b, a, *inputs):
    if len(inputs) > 1:
        raise Left("has no layer here for the larger or smaller of two tensors")
    b.layer("Identity", inputs[0])


def scaled(value):
    return lambda b, a, x: b.layer("Multiply", x, {"value": value})


def reciprocal(b, a, x):
    b.layer("Divide", [b.hold(Tensor([1], [1.0])), x])


def power(b, a, x, exponent):
    if b.constant(exponent).values != [2]:
        raise Left("raises to other powers than two")
    b.layer("Square", x)


def reduction(type):
    def reduce(b, a, x, axes=None):
        rank = len(b.shape(x))
        given = b.constant(axes).values if axes else a.get("axes", [])
        if not given and a.get("noop_with_empty_axes", 0):
            return b.layer("Identity", x)
        for axis in sorted((axis % rank for axis in given or range(rank)), reverse=True):
            x = b.layer(type, x, {"dim": axis, "keepdim": bool(a.get("keepdims", 1))})
    return reduce


def concat(b, a, *inputs):
    b.layer("Concat", list(inputs), {"dim": a["axis"]})


def split(b, a, x, sizes=None):
    axis = a.get("axis", 0)
    length, count = b.shape(x)[axis], a.get("num_outputs", b.outputs)
    even = [min(-(-length // count), length - i * -(-length // count)) for i in range(count)]
    given = b.constant(sizes).values if sizes else a.get("split") or even
    return b.layers("Split", x, {"sizes": given, "dim": axis}, [str(i) for i in range(len(given))])


def slice_(b, a, x, starts, ends, axes=None, steps=None):
    starts, ends = b.constant(starts).values, b.constant(ends).values
    axes = b.constant(axes).values if axes else range(len(starts))
    steps = b.constant(steps).values if steps else [1] * len(starts)
    if min(steps) < 0:
        raise Left("steps backwards")
    y = x
    for axis, start, end, step in zip(axes, starts, ends, steps):
        if start >= b.shape(x)[axis]:
            raise Left("is about tensors without elements")
        y = b.layer("Slice", y, {"dim": axis, "start": start, "end": end, "step": step})


def reshape(b, a, x, sizes):
    shape = b.shape(x)
    b.layer("Reshape", x, {"shape": [shape[i] if n == 0 else n for i, n in enumerate(b.constant(sizes).values)]})


def transpose(b, a, x):
    b.layer("Permute", x, {"dims": a.get("perm", list(range(len(b.shape(x))))[::-1])})


def moved(type):
    def move(b, a, x):
        for axis in sorted(a["axes"], reverse=type == "Squeeze"):
            x = b.layer(type, x, {"dim": axis})
    return move


def dropout(b, a, x, ratio=None, training=None):
    if training and b.constant(training).values[0] and b.constant(ratio).values[0]:
        raise Left("trains")
    b.layer("Dropout", x)


def gather(b, a, table, indices):
    if a.get("axis", 0) != 0 or not b.is_constant(table):
        raise Left("gathers other things than rows of a table")
    rows = b.constant(table)
    b.layer("Embedding", indices, {"num_embeddings": rows.shape[0], "embedding_dim": rows.shape[1]}, {"weight": rows})


def recurrent(type, blocks):
    """`blocks`: where PyTorch's gates stand among ONNX's."""
    def layer(b, a, x, w, r, bias=None, *others):
        if any(others) or a.get("direction", "forward") != "forward" or "activations" in a:
            raise Left("has peepholes, lengths, states, or other directions or activations")
        hidden, batch_first, shape = a["hidden_size"], bool(a.get("layout", 0)), b.shape(x)
        biases = b.constant(bias).values if bias else []
        half = len(biases) // 2
        if type == "GRU" and not a.get("linear_before_reset", 0) and (shape[0] > 1 or any(biases[half + 2 * hidden:])):
            raise Left("applies the reset gate before its matrix")  # of one step from a state of zeros: the same
        parameters = {"weight_ih_l0": reordered(b.constant(w), blocks), "weight_hh_l0": reordered(b.constant(r), blocks)}
        for name, values in (("bias_ih_l0", biases[:half]), ("bias_hh_l0", biases[half:])):
            if bias:
                parameters[name] = reordered(Tensor([1, half], values), blocks)
        outputs = b.layers(type, x, {"input_size": shape[2], "hidden_size": hidden, "batch_first": batch_first,
                                     "bias": bool(bias)}, ["output", "h_n", "c_n"][:3 if type == "LSTM" else 2], parameters)
        y = b.layer("Unsqueeze", outputs[0], {"dim": 2 if batch_first else 1})
        last = b.layer("Transpose", outputs[1], {"dim0": 0, "dim1": 1}) if batch_first else outputs[1]
        return [y, last, *outputs[2:]]
    return layer


OPERATORS = {
    "Conv": conv, "ConvTranspose": conv_transpose, "CausalConvWithState": causal_conv, "MaxPool": pooled("MaxPool1d"),
    "AveragePool": pooled("AvgPool1d"), "GlobalMaxPool": global_max, "BatchNormalization": batch_norm,
    "GroupNormalization": group_norm, "InstanceNormalization": instance_norm, "LayerNormalization": layer_norm("LayerNorm"),
    "RMSNormalization": layer_norm("RMSNorm"), "LpNormalization": lp_norm, "Relu": plain("ReLU"), "Tanh": plain("Tanh"),
    "Sigmoid": plain("Sigmoid"), "Softsign": plain("Softsign"), "Softplus": plain("Softplus"), "HardSwish": plain("Hardswish"),
    "Abs": plain("Abs"), "Exp": plain("Exp"), "Log": plain("Log"), "Sqrt": plain("Sqrt"), "Sin": plain("Sin"), "Cos": plain("Cos"),
    "Identity": plain("Identity"), "Elu": plain("ELU", alpha=("alpha", 1.0)),
    "LeakyRelu": plain("LeakyReLU", negative_slope=("alpha", 0.01)), "Gelu": plain("GELU", approximate=("approximate", "none")),
    "Selu": selu, "HardSigmoid": hard_sigmoid, "Clip": clip, "Swish": swish, "PRelu": prelu, "Softmax": softmax("Softmax"),
    "LogSoftmax": softmax("LogSoftmax"), "Gemm": gemm, "MatMul": matmul, "Add": combined("Add"), "Sum": combined("Add"),
    "Sub": combined("Subtract"), "Mul": combined("Multiply"), "Div": combined("Divide"), "Neg": scaled(-1.0), "Max": extreme, "Min": extreme,
    "Reciprocal": reciprocal, "Pow": power, "ReduceMax": reduction("Max"), "ReduceMean": reduction("Mean"),
    "ReduceSum": reduction("Sum"), "Concat": concat, "Split": split, "Slice": slice_, "Reshape": reshape, "Transpose": transpose,
    "Squeeze": moved("Squeeze"), "Unsqueeze": moved("Unsqueeze"), "Dropout": dropout, "Gather": gather,
    "LSTM": recurrent("LSTM", (0, 2, 3, 1)), "GRU": recurrent("GRU", (1, 0, 2)),
}
