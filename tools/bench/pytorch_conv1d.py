#!/usr/bin/env python3
"""PyTorch's times on the cases of `strand bench --conv1d`, with bias: float32, TF32 and float16, cudnn.benchmark on.

    python3 tools/bench/pytorch_conv1d.py tools/bench/conv1d_cases.txt --output pytorch_conv1d.csv
    strand bench --conv1d tools/bench/conv1d_cases.txt --device cuda --pytorch pytorch_conv1d.csv

--both-alignments adds the cases that strand's option of that name adds. --precision float16 (or bfloat16) times that
type alone, in PyTorch's usual layout and, as a 2-D convolution of height 1, in channels-last.
"""

import argparse
import sys

import torch
from torch.nn import functional

from pytorch_timing import describe, median_ms, rotations, write_csv

SIZES = ("N", "Cin", "Cout", "L", "K", "s", "d", "pad", "groups")
ROW = 8  # outputs: rows of a multiple of this many begin on 32-byte boundaries


def output_length(case):
    return (case["L"] + 2 * case["pad"] - case["d"] * (case["K"] - 1) - 1) // case["s"] + 1


def other_alignment(name, case):
    """The same with a longer signal, whose rows of outputs are aligned if these are not, and the other way round."""
    rest = output_length(case) % ROW
    longer = dict(case, L=case["L"] + case["s"] * (3 if rest == 0 else ROW - rest))
    return f"{name}~{output_length(longer)}", longer


def read_cases(path, both_alignments):
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            case = dict(zip(SIZES, map(int, words[1:10])))
            yield words[0], case
            if both_alignments:
                yield other_alignment(words[0], case)


def time_case(case, dtype, device, repeats, channels_last=False):
    shape = (case["N"], case["Cin"], case["L"])
    group_channels = case["Cin"] // case["groups"]
    weight = torch.randn(case["Cout"], group_channels, case["K"], device=device).to(dtype)
    bias = torch.randn(case["Cout"], device=device).to(dtype)
    outputs = case["N"] * case["Cout"] * output_length(case)
    count = rotations(device, (shape[0] * shape[1] * shape[2] + outputs) * weight.element_size())
    inputs = [torch.randn(shape, device=device, dtype=dtype) for _ in range(count)]

    def body(turn):
        functional.conv1d(inputs[turn % count], weight, bias, case["s"], case["pad"], case["d"], case["groups"])

    def body_channels_last(turn):
        functional.conv2d(
            inputs[turn % count], weight, bias, (1, case["s"]), (0, case["pad"]), (1, case["d"]), case["groups"]
        )

    if channels_last:
        weight, *inputs = (
            tensor.unsqueeze(2).contiguous(memory_format=torch.channels_last) for tensor in (weight, *inputs)
        )
    return median_ms(body_channels_last if channels_last else body, device, count, repeats)


def modes_of(precision, device):
    """By the name of a column: the type, whether float32 may be TF32, and whether channels lie side by side."""
    if precision is not None:
        dtype = getattr(torch, precision)
        return {precision: (dtype, False, False), f"{precision} channels last": (dtype, False, True)}
    float32 = {"fp32": (torch.float32, False, False)}
    if device.type != "cuda":
        return float32
    return {**float32, "tf32": (torch.float32, True, False), "fp16": (torch.float16, False, False)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases")
    parser.add_argument("--output", help="a CSV file; standard output unless given")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--filter", default="", help="only the cases whose name has this in it")
    parser.add_argument("--repeat", type=int, default=11)
    parser.add_argument("--both-alignments", action="store_true")
    parser.add_argument("--precision", choices=("float16", "bfloat16"), help="this type alone, in both layouts")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    modes = modes_of(arguments.precision, device)
    print(describe(device), file=sys.stderr)

    def rows():
        for name, case in read_cases(arguments.cases, arguments.both_alignments):
            if arguments.filter not in name:
                continue
            times = []
            for dtype, tf32, channels_last in modes.values():
                torch.backends.cudnn.allow_tf32 = tf32
                try:
                    times.append(time_case(case, dtype, device, arguments.repeat, channels_last))
                except RuntimeError as error:  # out of memory, or no algorithm
                    print(f"{name}: {error}", file=sys.stderr)
                    times.append(None)
                if device.type == "cuda":
                    torch.cuda.empty_cache()
            yield name, *times

    write_csv(arguments.output, modes, rows())


if __name__ == "__main__":
    main()
