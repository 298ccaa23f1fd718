"""What both PyTorch benchmarks share: times as strand's own are taken, and their CSV file.

A time is the median of `repeats` measurements with events of a replayed CUDA graph of enough calls to be precise, over
rotating inputs that exceed the L2 cache four times; on the CPU, of a clock.
"""

import contextlib
import csv
import math
import statistics
import sys
import time

import torch

PRECISE_MS = 2
MOST_CALLS = 2048


def rotations(device, bytes_of_one):
    """How many sets of inputs and outputs of that many bytes exceed the cache."""
    cache = 1 << 24
    if device.type == "cuda":
        cache = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 64 << 20)
    return max(1, min(1024, math.ceil(4 * cache / max(1, bytes_of_one))))


def _events(work):
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def _clock(work):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def _replay(body, count):
    """A replay of `count` calls, or the calls themselves where they can't be captured."""
    def plainly():
        for turn in range(count):
            body(turn)

    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            plainly()
    except RuntimeError:
        torch.cuda.synchronize()
        return plainly
    return graph.replay


def median_ms(body, device, sets, repeats):
    """Milliseconds of one body(turn), without gradients."""
    with torch.no_grad():
        if device.type != "cuda":
            body(0)
            return statistics.median(_clock(lambda turn=turn: body(turn)) for turn in range(repeats))
        stream = torch.cuda.Stream()  # capture wants another stream than the default one
        with torch.cuda.stream(stream):
            for turn in range(3):
                body(turn)
            once = _events(lambda: body(0))
            count = 1 if once >= PRECISE_MS else min(MOST_CALLS, max(math.ceil(PRECISE_MS / max(once, 1e-4)), sets))
            work = _replay(body, count)
            work()
            return statistics.median(_events(work) for _ in range(repeats)) / count


def describe(device):
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else "none"
    return f"{where}, PyTorch {torch.__version__}, cuDNN {cudnn}"


def write_csv(path, titles, rows):
    """Rows begin with the case's name; None stands for a time that could not be taken. Each is written as it comes."""
    with open(path, "w", newline="", encoding="utf-8") if path else contextlib.nullcontext(sys.stdout) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", *titles])
        for name, *times in rows:
            writer.writerow([name, *("" if ms is None else f"{ms:.6g}" for ms in times)])
            file.flush()
