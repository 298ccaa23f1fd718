"""The classical DTMF detector, as a yardstick: Goertzel filters over 205-sample blocks, with the usual checks, and
its thresholds fitted by search on training calls. `python3 goertzel.py` fits them again."""
import numpy as np

from keypad import RATE, SILENCE, decode, edit_distance
from synth import HIGH, LOW, TRAINING_SPEECH, test_call

BLOCK = 205                 # samples; its bins of 39 Hz lie closest to the eight tones
FIT_SEED = 3
SNRS = (20, 15, 10, 5, 0, -5)

# Found by fit(). Ratios in dB.
FITTED = {"hop": 51, "blocks_on": 5, "blocks_off": 3, "level": -44.26, "twist_low": -15.65, "twist_high": 14.46,
          "row_lead": 1.137, "column_lead": 0, "share": -8.502, "row_harmonic": 15.32, "column_harmonic": 12.7}


def features(audio, hop):
    """[samples] -> per block: the 8 tones' powers, their second harmonics' powers, and the block's mean square.
    A Goertzel filter gives |sum x exp(-jwn)|^2; as a matrix product that is the same number, faster here."""
    n = np.arange(BLOCK)
    f = np.concatenate([LOW + HIGH, 2 * np.array(LOW + HIGH)])
    basis = np.exp(-2j * np.pi * np.outer(n, f) / RATE)
    blocks = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64), BLOCK)[::hop]
    power = np.abs(blocks @ basis) ** 2 * 2 / BLOCK ** 2    # a sine of mean square P gives P
    return power[:, :8], power[:, 8:], np.mean(blocks ** 2, axis=1)


def db(x):
    return 10 * np.log10(x + 1e-12)


class Checked:
    """The features turned into what the checks compare, once, so that a search over thresholds is cheap."""

    def __init__(self, tones, harmonics, energy):
        rows, columns = tones[:, :4], tones[:, 4:]
        row, column = rows.argmax(1), columns.argmax(1)
        at = np.arange(len(tones))
        best_row, best_column = rows[at, row], columns[at, column]
        self.key = row * 4 + column
        self.level = db(np.minimum(best_row, best_column))
        self.twist = db(best_column) - db(best_row)
        self.row_lead = db(best_row) - db(np.sort(rows, 1)[:, 2])
        self.column_lead = db(best_column) - db(np.sort(columns, 1)[:, 2])
        self.share = db(best_row + best_column) - db(energy)
        self.row_harmonic = db(harmonics[at, row]) - db(best_row)
        self.column_harmonic = db(harmonics[at, 4 + column]) - db(best_column)

    def digits(self, p):
        ok = ((self.level > p["level"]) & (self.twist > p["twist_low"]) & (self.twist < p["twist_high"])
              & (self.row_lead > p["row_lead"]) & (self.column_lead > p["column_lead"]) & (self.share > p["share"])
              & (self.row_harmonic < p["row_harmonic"]) & (self.column_harmonic < p["column_harmonic"]))
        return decode(np.where(ok, self.key, SILENCE).tolist(), p["blocks_on"], p["blocks_off"])


def detect(audio, p=None):
    p = p or FITTED
    return Checked(*features(audio, p["hop"])).digits(p)


# Ranges of the search. Two blocks in a row is the textbook's rule; overlapping blocks and longer rows are allowed too,
# because two disjoint blocks (51 ms) cannot both lie inside a tone of 40 ms.
HOPS = (205, 102, 68, 51, 40)
RANGES = {"level": (-60, -35), "twist_low": (-20, -8), "twist_high": (4, 16), "row_lead": (0, 12),
          "column_lead": (0, 12), "share": (-14, -0.5), "row_harmonic": (-25, 20), "column_harmonic": (-25, 20)}
TEXTBOOK = {"level": -50, "twist_low": -9, "twist_high": 5, "row_lead": 6, "column_lead": 6, "share": -3,
            "row_harmonic": -8, "column_harmonic": -8}


def fit(calls, trials=150, seed=FIT_SEED, log=print):
    """Minimises the mean over twelve conditions of log(share of wrong digits + 0.001), so that a halving counts the
    same in quiet and in noise. From the textbook's thresholds and from random ones, then by changing one at a time."""
    rng = np.random.default_rng(seed)
    conditions = [(kind, snr) for kind in ("white", "speech") for snr in SNRS]
    total = sum(len(call.digits) for call in calls)

    def score(p, data):
        wrong = [sum(sum(edit_distance(c.digits, x.digits(p))) for c, x in zip(calls, row)) for row in data]
        return float(np.mean(np.log(np.array(wrong) / total + 0.001)))

    best = (np.inf, None)
    for hop in HOPS:
        data = [[Checked(*features(c.mixed(*condition), hop)) for c in calls] for condition in conditions]
        on_range = range(2, 3 + BLOCK // hop)
        on_start = 2 if hop > 100 else 3
        here = {"hop": hop, "blocks_on": on_start, "blocks_off": 1, **TEXTBOOK}
        here_score = score(here, data)
        for _ in range(trials // 3):
            p = {**here, **{k: rng.uniform(*r) for k, r in RANGES.items()}, "blocks_on": int(rng.choice(on_range)),
                 "blocks_off": int(rng.integers(1, 4))}
            s = score(p, data)
            if s < here_score:
                here, here_score = p, s
        for i in range(trials):
            p, width = dict(here), 0.3 * 0.985 ** i
            for k in rng.choice(list(RANGES) + ["blocks_on", "blocks_off"], rng.integers(1, 3), replace=False):
                if k == "blocks_on":
                    p[k] = int(rng.choice(on_range))
                elif k == "blocks_off":
                    p[k] = int(rng.integers(1, 4))
                else:
                    low, high = RANGES[k]
                    p[k] = float(np.clip(p[k] + rng.normal() * width * (high - low), low, high))
            s = score(p, data)
            if s < here_score:
                here, here_score = p, s
        log(f"hop {hop:3d}: mean log error {here_score:.3f}  {pretty(here)}", flush=True)
        best = min(best, (here_score, here), key=lambda b: b[0])
    return best[1]


def pretty(p):
    return "{" + ", ".join(f'"{k}": {v:.4g}' for k, v in p.items()) + "}"


if __name__ == "__main__":
    found = fit([test_call(FIT_SEED, i, TRAINING_SPEECH) for i in range(100)], trials=300)
    print("FITTED = " + pretty(found))
