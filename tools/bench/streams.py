#!/usr/bin/env python3
"""Small networks on one core: the processor time of `strand stream` beside other programs' figures.

streams.py STRAND NET.yaml ... [--chunk 64] [--seconds 10] [--rate 48000] [--rounds 5] [--peers FILE.csv]

Each round streams the same noise through every network in turn, so that all meet the same disturbances. The time is the
user time of the whole process, reading weights included; "pushes" is the median push times their number, which is what
a program that times its own loop would say. FILE.csv holds lines `network,program,seconds` for the same sound and
chunk, network being the description's name without .yaml; several lines of one program are several rounds. Shown are
medians; a ratio above 1 says that strand is the faster.
"""

import argparse
import array
import collections
import csv
import os
import pathlib
import random
import re
import resource
import statistics
import subprocess


def stream(strand, net, sound, rate, chunk):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([strand, "stream", str(net), "--rate", str(rate), "--chunk", str(chunk)], input=sound,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    user = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    said = done.stderr.decode()
    if done.returncode != 0:
        raise SystemExit(f"{net}: {said.strip()}")
    median = re.search(r"^median\s+([0-9.]+) ms", said, re.MULTILINE)
    pushes = re.search(r"in ([0-9,]+) pushes", said)
    if not median or not pushes:
        raise SystemExit(f"{net}: `strand stream` told no push times:\n{said}")
    return user, float(median[1]) / 1000 * int(pushes[1].replace(",", ""))


def read_peers(path):
    peers = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(path, newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                network, program, seconds = (field.strip() for field in row)
                peers[network][program].append(float(seconds))
            except ValueError:
                raise SystemExit(f"{path}:{number}: {','.join(row)!r}, expected network,program,seconds") from None
    return peers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("strand")
    parser.add_argument("nets", nargs="+", type=pathlib.Path)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=48000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers")
    args = parser.parse_args()
    peers = read_peers(args.peers) if args.peers else {}
    if hasattr(os, "sched_setaffinity"):  # one core, and the same one
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    noise = random.Random(0)
    count = int(args.seconds * args.rate)
    sound = array.array("f", (noise.uniform(-0.5, 0.5) for _ in range(count))).tobytes()
    times = collections.defaultdict(list)
    for _ in range(args.rounds):
        for net in args.nets:
            times[net].append(stream(args.strand, net, sound, args.rate, args.chunk))
    print(f"{'network':20} {'user s':>8} {'pushes s':>8}   {args.seconds:g} s at {args.rate} Hz, chunk {args.chunk}")
    for net in args.nets:
        user, pushes = (statistics.median(values) for values in zip(*times[net]))
        line = f"{net.stem:20} {user:8.4f} {pushes:8.4f}"
        for program, seconds in peers.get(net.stem, {}).items():
            other = statistics.median(seconds)
            line += f"   {program} {other:.4f} ({other / user:.2f}x, by pushes {other / pushes:.2f}x)"
        print(line)


if __name__ == "__main__":
    main()
