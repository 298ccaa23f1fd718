"""Digits wrong by signal-to-noise ratio, the network beside a fitted Goertzel detector, on calls that neither has seen.

python3 evaluate.py [--calls 1000]        writes accuracy.txt and accuracy.svg
python3 evaluate.py --folder DIRECTORY    scores a folder made by make_calls.sh: *.wav with their *.txt
"""
import argparse
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

from goertzel import SNRS, detect
from keypad import HERE, KEYS, RATE, choose, decode, edit_distance, load_model, probabilities, read_wav
from synth import TEST_SPEECH, digit, speech_like, test_call

TEST_SEED = 5               # train.py uses 1 and 2, goertzel.py 3
KINDS = {"white": "white noise", "speech": "speech-like"}
LENGTHS = (10, 15, 20, 22, 25, 30, 35, 40, 45)     # ms
detectors = {}              # filled by start()


def interval(errors, digits, rng):
    """95 % interval of sum(errors) / sum(digits): bootstrap over calls, as errors within a call are not independent;
    with no error at all, the rule of three."""
    if errors.sum() == 0:
        return 0.0, 3 / digits.sum()
    picks = rng.integers(0, len(errors), (2000, len(errors)))
    return tuple(np.percentile(errors[picks].sum(1) / digits[picks].sum(1), (2.5, 97.5)))


def score_call(i):
    """Of test call i: {(detector, kind, snr): (substitutions, deletions, insertions)}, and its number of digits."""
    call = test_call(TEST_SEED, i, TEST_SPEECH)
    edits = {}
    for kind in KINDS:
        for snr in SNRS:
            audio = call.mixed(kind, snr)
            for name, detector in detectors.items():
                edits[name, kind, snr] = edit_distance(call.digits, detector(audio))
    return edits, len(call.digits)


def score(pool, count):
    """{(detector, kind, snr): [calls, 3]} and the digits a call."""
    calls = pool.map(score_call, range(count), chunksize=10)
    return {k: np.array([edits[k] for edits, _ in calls]) for k in calls[0][0]}, np.array([n for _, n in calls])


def table(edits, digits):
    rng = np.random.default_rng(0)
    columns = " | ".join(f"{d}: wrong | sub/del/ins | % (95 % interval)" for d in detectors)
    lines = [f"| interference | SNR | {columns} |", "| --- | ---: |" + " ---: | ---: | --- |" * len(detectors)]
    points = {}
    for kind, title in KINDS.items():
        for snr in SNRS:
            cells = [title, f"{snr} dB"]
            for d in detectors:
                e = edits[d, kind, snr]
                low, high = interval(e.sum(1), digits, rng)
                rate = e.sum() / digits.sum()
                points[d, kind, snr] = rate, low, high
                cells += [f"{e.sum()}", "/".join(map(str, e.sum(0))),
                          f"{100 * rate:.2f} ({100 * low:.2f} to {100 * high:.2f})"]
            lines.append("| " + " | ".join(cells) + " |")
    return lines, points


def plot(points, digits, path):
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "keypad", "font.size": 9})
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    floor = 100 / digits.sum() / 2
    for axis, (kind, title) in zip(axes, KINDS.items()):
        for d, colour, marker in zip(detectors, ("#0b6e99", "#c2571a"), "os"):
            rate, low, high = 100 * np.array([points[d, kind, s] for s in SNRS]).T
            drawn = np.maximum(rate, floor)                 # no error at all sits on the floor of the log scale
            axis.fill_between(SNRS, np.maximum(low, floor), np.maximum(high, floor), color=colour, alpha=0.2, lw=0)
            axis.plot(SNRS, drawn, color=colour, marker=marker, ms=4, label=d)
        axis.set(yscale="log", title=title, xlabel="SNR, dB (tones over interference, 0 to 4 kHz)", xticks=SNRS)
        axis.grid(True, which="major", alpha=0.3)
    axes[0].set_ylabel(f"digits wrong, % of {digits.sum():,}\n(lowest line: none)")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def false_digits(i):
    """Digits heard in minute i of speech-like interference that holds none, at -20 dB of full scale."""
    rng = np.random.default_rng([TEST_SEED, 1, i])
    audio = np.clip(0.1 * speech_like(rng, 60 * RATE, TEST_SPEECH), -1, 1).astype(np.float32)
    return [len(detector(audio)) for detector in detectors.values()]


def heard_by_length(ms, trials=400):
    """Share of lone digits heard, of a length in ms, at 20 dB in white noise. Q.24: none below 23, all from 40."""
    heard = np.zeros(len(detectors))
    for i in range(trials):
        rng = np.random.default_rng([TEST_SEED, 2, ms, i])
        key = int(rng.integers(16))
        n = ms * RATE // 1000
        y = rng.standard_normal(6000 + n) * 10 ** (-40 / 20)
        y[3000:3000 + n] += digit(rng, key, n, -20)
        heard += [detector(y.astype(np.float32)) == KEYS[key] for detector in detectors.values()]
    return heard / trials


def score_folder(folder):
    files = sorted(Path(folder).glob("*.wav"))
    truths = [f.with_suffix(".txt").read_text().strip() for f in files]
    print(f"{len(files)} calls, {sum(map(len, truths))} digits")
    for d, detector in detectors.items():
        edits = sum(np.array(edit_distance(t, detector(read_wav(f)))) for f, t in zip(files, truths))
        print(f"{d}: {edits.sum()} wrong (substitutions, deletions, insertions: {edits.tolist()})")


def start(weights):
    """In every process: the detectors, [samples] -> digits."""
    torch.set_num_threads(1)
    model = load_model(weights)
    detectors["network"] = lambda audio: decode(choose(probabilities(model, audio)))
    detectors["Goertzel"] = detect


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--weights", default=HERE / "keypad.safetensors")
    parser.add_argument("--folder")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of accuracy.txt and accuracy.svg")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    start(args.weights)
    if args.folder:
        return score_folder(args.folder)

    begin = time.time()
    with Pool(args.processes, start, [args.weights]) as pool:
        edits, digits = score(pool, args.calls)
        hour = np.sum(pool.map(false_digits, range(60)), axis=0)
        heard = np.array(pool.map(heard_by_length, LENGTHS, chunksize=1))
    lines, points = table(edits, digits)
    lines = [f"{args.calls:,} calls, {digits.sum():,} digits, in each of twelve conditions.", ""] + lines
    lines += ["", "False digits in an hour of speech-like sound without any: "
              + ", ".join(f"{d} {n}" for d, n in zip(detectors, hour)) + "."]
    lines += ["", "Lone digits heard, by length, at 20 dB in white noise (400 each):", "",
              "| ms | " + " | ".join(map(str, LENGTHS)) + " |", "| --- |" + " ---: |" * len(LENGTHS)]
    for d, shares in zip(detectors, heard.T):
        lines.append(f"| {d} | " + " | ".join(f"{100 * s:.1f} %" for s in shares) + " |")
    (args.out / "accuracy.txt").write_text("\n".join(lines) + "\n")
    plot(points, digits, args.out / "accuracy.svg")
    print("\n".join(lines), f"\n{time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
