#!/usr/bin/env python3
"""Plots of what `strand bench --conv1d ... --json` printed, as SVG without any library.

    strand bench --conv1d tools/bench/conv1d_cases.txt --device cuda --json >bench.json
    python3 tools/bench/plot.py shares bench.json shares.svg     # the share of the floor of each case
    python3 tools/bench/plot.py shares tests/gpu_report.txt layers/conv1d/shares.svg  # of the table that it printed
    strand bench --conv1d --sweep --device cuda >sweep.txt
    python3 tools/bench/plot.py sweep sweep.txt sweep.svg       # time against L, Cin, K and dilation, log by log
"""

import argparse
import html
import json
import math
import re

INK, PALE, OURS, FLOOR = "#333", "#ddd", "#2b6cb0", "#c05621"
TITLES = {"L": "length", "Cin": "input channels", "K": "kernel size", "d": "dilation"}


def text(x, y, content, anchor="start", size=12, color=INK):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}">'
            f"{html.escape(str(content))}</text>")


def line(x1, y1, x2, y2, color=PALE):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def document(width, height, parts):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif">', f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>"]) + "\n"


def floor_ms(case):
    return max(case["floor_bytes_ms"], case["floor_half_products_ms"])


def picked(case):
    """What a network gets: the first of strand's that was timed, as (implementation, ms); None where none was."""
    for result in case["results"]:
        if result["implementation"].startswith(("cpu.", "cuda.")) and result.get("ms", 0) > 0:
            return result["implementation"], result["ms"]
    return None


def from_table(lines):
    """Of what was printed without --json: the first table of picked implementations, as the drawings want it."""
    report = {"machine": {}, "cases": []}
    for printed in lines:
        machine = re.match(r"([^,]+), .*, (\d{4}-\d\d-\d\dT\S+)$", printed)
        row = re.match(r"(\S+) +(?:\d+ x .*?  +)?(c(?:uda|pu)\.\w+)(?: \(\w+ stored\))? +([\d.]+) ms +([\d.]+) % ", printed)
        if machine:
            report["machine"] = {"processor": machine[1], "date": machine[2]}
        if row:
            ms = float(row[3])
            report["cases"].append({"name": row[1], "floor_bytes_ms": ms * float(row[4]) / 100, "floor_half_products_ms": 0,
                                    "results": [{"implementation": row[2], "ms": ms}]})
        elif printed.startswith(("Geometric means", "step:")) and report["cases"]:
            return report
    raise SystemExit("plot.py: no table of picked implementations, and no JSON")


def shares(report):
    row, left, right, top = 20, 130, 220, 60
    cases = [(case, picked(case)) for case in report["cases"]]
    cases = [(case, best) for case, best in cases if best]
    longest = max([1.0] + [floor_ms(case) / ms for case, (_, ms) in cases])
    width, height = 900, top + row * len(cases) + 30
    scale = (width - left - right) / longest
    bottom = top + row * len(cases)
    parts = [text(left, 24, "Conv1d: the floor's time over the measured one", size=15),
             text(left, 42, report["machine"]["processor"] + ", " + report["machine"]["date"], size=11)]
    for tenth in range(0, 11, 2):
        x = left + scale * tenth / 10
        parts += [line(x, top, x, bottom), text(x, bottom + 16, f"{tenth * 10} %", "middle", 11)]
    for index, (case, (implementation, ms)) in enumerate(cases):
        y, share = top + row * index, floor_ms(case) / ms
        parts += [text(left - 8, y + 14, case["name"], "end"),
                  f'<rect x="{left}" y="{y + 3}" width="{scale * share:.1f}" height="{row - 6}" fill="{OURS}"/>',
                  text(left + scale * share + 6, y + 14, f"{share * 100:.0f} %  {ms:.3g} ms  {implementation}", size=11)]
    return document(width, height, parts)


def curve(points, x_of, y_of, color, dash=""):
    path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
    dots = [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5" fill="{color}"/>' for x, y in points if not dash]
    return [f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"{dash}/>', *dots]


def panel(axis, cases, x0, y0, width, height):
    """Log by log, in a frame of decades in time and powers of two in size."""
    times = [(value, picked(case)[1]) for value, case in cases]
    floors = [(value, floor_ms(case)) for value, case in cases if floor_ms(case) > 0]
    low = math.floor(math.log10(min(ms for _, ms in times + floors)))
    high = max(low + 1, math.ceil(math.log10(max(ms for _, ms in times + floors))))
    first, last = math.log2(cases[0][0]), max(math.log2(cases[-1][0]), math.log2(cases[0][0]) + 1)

    def x_of(value):
        return x0 + (math.log2(value) - first) / (last - first) * width

    def y_of(ms):
        return y0 + height - (math.log10(ms) - low) / (high - low) * height

    parts = [text(x0, y0 - 10, f"time against {TITLES.get(axis, axis)}", size=13)]
    for decade in range(low, high + 1):
        y = y_of(10 ** decade)
        parts += [line(x0, y, x0 + width, y), text(x0 - 6, y + 4, f"{10 ** decade:g} ms", "end", 11)]
    for power in range(math.ceil(first), math.floor(last) + 1, 2):
        x = x_of(2 ** power)
        parts += [line(x, y0, x, y0 + height), text(x, y0 + height + 15, 2 ** power, "middle", 11)]
    parts += curve(floors, x_of, y_of, FLOOR, ' stroke-dasharray="5 3"') if len(floors) > 1 else []
    return parts + curve(times, x_of, y_of, OURS)


def sweep(report):
    axes = {}
    for case in report["cases"]:
        axis, _, value = case["name"].partition("=")
        if value.isdigit() and picked(case):
            axes.setdefault(axis, []).append((int(value), case))
    width, height, gap, rows = 380, 230, 90, math.ceil(len(axes) / 2)
    parts = [text(70, 24, "Conv1d: what a size costs (dashed: the floor)", size=15),
             text(70, 42, report["machine"]["processor"] + ", " + report["machine"]["date"], size=11)]
    for index, (axis, cases) in enumerate(axes.items()):
        parts += panel(axis, sorted(cases, key=lambda entry: entry[0]), 70 + index % 2 * (width + gap),
                       80 + index // 2 * (height + gap), width, height)
    return document(2 * (width + gap), 80 + rows * (height + gap), parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["shares", "sweep"])
    parser.add_argument("report", help="what strand bench printed, with --json or without")
    parser.add_argument("output", help="an SVG file")
    arguments = parser.parse_args()
    with open(arguments.report, encoding="utf-8") as file:
        printed = file.read()
    report = json.loads(printed) if printed.startswith("{") else from_table(printed.splitlines())
    drawing = shares(report) if arguments.kind == "shares" else sweep(report)
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write(drawing)


if __name__ == "__main__":
    main()
