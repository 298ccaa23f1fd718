"""Synthetic telephone calls: DTMF digits (ITU-T Q.23, Q.24), noise, speech-like interference and things that are
almost digits. Everything is drawn from a numpy Generator, so a seed names a call."""
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from keypad import HOP, KEYS, RATE, SILENCE

LOW = (697.0, 770.0, 852.0, 941.0)         # Hz, one a row of the keypad (Q.23)
HIGH = (1209.0, 1336.0, 1477.0, 1633.0)    # Hz, one a column
FREQUENCY_ERROR = 0.015                    # Q.24: within +-1.5 % must be accepted, beyond +-3.5 % rejected
TWIST = (-8.0, 4.0)                        # dB, high tone over low tone (Q.24, AT&T's column)
TONE = (0.040, 0.200)                      # s; Q.24: 40 ms must be accepted, below 23 ms rejected
GAP = (0.040, 0.200)                       # s; Q.24: a pause of 40 ms must separate digits
LEVEL = (-33.0, -9.0)                      # dB of full scale: mean square of both tones together


def seconds(rng, span):
    return int(round(rng.uniform(*span) * RATE))


def sines(rng, frequencies, amplitudes, n):
    """A sum of sines with random phases and edges of up to 3 ms."""
    t = np.arange(n) / RATE
    y = sum(a * np.sin(2 * np.pi * (f * t + rng.random())) for f, a in zip(frequencies, amplitudes))
    ramp = min(rng.integers(1, 25), n // 4)
    edge = (np.arange(ramp) + 0.5) / ramp
    y[:ramp] *= edge
    y[n - ramp:] *= edge[::-1]
    return y


def pair_amplitudes(level_db, twist_db):
    low = np.sqrt(2 * 10 ** (level_db / 10) / (1 + 10 ** (twist_db / 10)))
    return low, low * 10 ** (twist_db / 20)


def key_frequencies(key):
    return LOW[key // 4], HIGH[key % 4]


def digit(rng, key, n, level_db):
    f = [f * (1 + rng.uniform(-FREQUENCY_ERROR, FREQUENCY_ERROR)) for f in key_frequencies(key)]
    return sines(rng, f, pair_amplitudes(level_db, rng.uniform(*TWIST)), n)


def near_miss(rng, level_db):
    """What a receiver must not take for a digit: a lone tone, a pair off its frequencies, two tones of one group,
    a digit cut short, dial and busy tones."""
    kind = rng.integers(6)
    n = seconds(rng, TONE)
    if kind == 0:
        return sines(rng, [rng.choice(LOW + HIGH)], [np.sqrt(2) * 10 ** (level_db / 20)], n)
    if kind == 1:
        f = np.array(key_frequencies(rng.integers(16)))
        off = rng.uniform(0.035, 0.05, 2) * rng.choice([-1, 1], 2)
        off[rng.integers(2)] *= rng.integers(2)             # one of the two may be on its frequency
        return sines(rng, f * (1 + off), pair_amplitudes(level_db, rng.uniform(*TWIST)), n)
    if kind == 2:
        f = rng.choice(LOW if rng.random() < 0.5 else HIGH, 2, replace=False)
        return sines(rng, f, pair_amplitudes(level_db, 0), n)
    if kind == 3:
        f = [(350, 440), (480, 620), (425,), (440, 480)][rng.integers(4)]
        return sines(rng, f, pair_amplitudes(level_db, 0), 2 * n)
    return digit(rng, rng.integers(16), seconds(rng, (0.008, 0.022)), level_db)


@dataclass(frozen=True)
class SpeechStyle:
    """Parameters of the speech-like generator. The evaluation's differ from the training's in each of them."""
    pitch: tuple        # Hz, of a talker
    glide: float        # relative change of pitch within a syllable
    syllable: tuple     # s
    pause: float        # probability of a pause after a syllable
    unvoiced: float     # share of noise-excited syllables
    bandwidth: tuple    # Hz, of the first formant; the higher ones' grow with their number
    tilt: float         # pole of the low-pass that rounds the glottal pulses
    vowels: tuple       # Hz, formants 1 to 3


TRAINING_SPEECH = SpeechStyle((70, 290), 0.25, (0.09, 0.30), 0.25, 0.20, (45, 110), 0.85, (
    (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440),
    (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690)))
TEST_SPEECH = SpeechStyle((120, 330), 0.40, (0.06, 0.22), 0.15, 0.30, (60, 160), 0.70, (
    (310, 2790, 3310), (430, 2480, 3070), (610, 2330, 2990), (860, 2050, 2850), (850, 1220, 2810),
    (590, 920, 2710), (470, 1160, 2680), (370, 950, 2670), (760, 1400, 2780), (500, 1640, 1960)))


def formants(source, vowel, widths):
    y = source
    for f, b in zip(vowel, widths):
        r = np.exp(-np.pi * b / RATE)
        y = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * f / RATE), r * r], y)
    return y


def speech_like(rng, n, style):
    """n samples of babble by one talker: pulse trains or noise through gliding formants, in syllables. Mean square 1,
    pauses included."""
    out = np.zeros(n + RATE)
    talker = rng.uniform(*style.pitch)
    tract = rng.uniform(0.92, 1.08)
    at = int(rng.integers(0, RATE // 5))
    while at < n:
        length = seconds(rng, style.syllable)
        if rng.random() < style.unvoiced:
            source = rng.standard_normal(length) * 0.1
        else:
            bend = rng.uniform(0.8, 1.25), rng.uniform(-style.glide, style.glide)
            pitch = talker * bend[0] * (1 + bend[1] * np.linspace(0, 1, length))
            phase = np.cumsum(pitch / RATE) + rng.random()
            source = np.diff(np.floor(phase), prepend=np.floor(phase[0])) + 0.01 * rng.standard_normal(length)
            source = lfilter([1], [1, -style.tilt], source)
        widths = rng.uniform(*style.bandwidth) * np.array([1, 1.5, 2.2])
        first, second = (tract * np.array(style.vowels[rng.integers(len(style.vowels))]) for _ in range(2))
        glide = np.linspace(0, 1, length)
        y = (1 - glide) * formants(source, first, widths) + glide * formants(source, second, widths)
        y *= np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 0.7
        out[at:at + length] += y / (np.sqrt(np.mean(y * y)) + 1e-12) * 10 ** (rng.uniform(-12, 0) / 20)
        at += int(length * rng.uniform(0.8, 1.0))
        if rng.random() < style.pause:
            at += seconds(rng, (0.05, 0.4))
    out = out[:n]
    return out / np.sqrt(np.mean(out * out) + 1e-12)


def dial(rng, digits, level_db):
    """Tones of a call without noise: (samples, label a frame, mean square while a tone sounds)."""
    pieces, keys = [np.zeros(seconds(rng, (0.2, 0.5)))], [SILENCE]
    for d in digits:
        pieces.append(digit(rng, KEYS.index(d), seconds(rng, TONE), level_db + rng.uniform(-1.5, 1.5)))
        pieces.append(np.zeros(seconds(rng, GAP)))
        keys += [KEYS.index(d), SILENCE]
    pieces.append(np.zeros(seconds(rng, (0.2, 0.5))))
    keys.append(SILENCE)
    return finish(pieces, keys)


def finish(pieces, keys):
    samples = np.concatenate(pieces)
    label = np.repeat(keys, [len(p) for p in pieces])
    sounding = samples[label != SILENCE]
    power = float(np.mean(sounding ** 2)) if len(sounding) else 0.0
    return samples, label[HOP // 2::HOP][:len(samples) // HOP], power


def random_digits(rng, least=8, most=12):
    keys = []
    for _ in range(rng.integers(least, most + 1)):
        # Repeats test the pause between digits; one chance in sixteen would be too few.
        keys.append(keys[-1] if keys and rng.random() < 0.15 else KEYS[rng.integers(16)])
    return "".join(keys)


@dataclass
class TestCall:
    digits: str
    tones: np.ndarray       # [samples]
    power: float            # mean square of the tones while they sound
    white: np.ndarray       # [samples], mean square 1
    speech: np.ndarray      # [samples], mean square 1

    def mixed(self, kind, snr_db):
        """SNR = mean square of the tones while they sound / mean square of the interference over the whole call."""
        noise = self.white if kind == "white" else self.speech
        y = self.tones + noise * np.sqrt(self.power / 10 ** (snr_db / 10))
        return np.clip(np.round(y * 32768), -32768, 32767).astype(np.float32) / 32768


def test_call(seed, index, style):
    """A call that holds exactly what Q.24 says must be accepted. (seed, index) names it."""
    rng = np.random.default_rng([seed, index])
    digits = random_digits(rng)
    tones, _, power = dial(rng, digits, rng.uniform(-30, -15))
    white = rng.standard_normal(len(tones))
    white /= np.sqrt(np.mean(white ** 2))
    return TestCall(digits, tones, power, white, speech_like(rng, len(tones), style))


class TrainingClips:
    """Clips for training: digits, near misses, long pauses; any mixture of noises; sometimes overdriven."""

    def __init__(self, seed, length, bank_seconds=1800):
        self.rng = np.random.default_rng([seed, 0])
        self.length = length
        # Speech is the dear part, so clips are cut from a bank. Ten seconds a talker.
        talkers = range(bank_seconds // 10)
        self.bank = np.concatenate([speech_like(self.rng, 10 * RATE, TRAINING_SPEECH) for _ in talkers])

    def events(self, level_db, strict):
        rng, pieces, keys, total = self.rng, [], [], 0
        pace = rng.uniform(0, 1)                            # how often a long pause follows
        while total < self.length:
            span = (0.04, 0.8) if rng.random() < 0.3 * pace else GAP if rng.random() < 0.7 else (0.04, 0.08)
            gap = np.zeros(seconds(rng, span))
            # In noise nobody can tell a near miss from a digit: there it would only teach timidity.
            if strict and rng.random() < 0.2:
                tone, key = near_miss(rng, level_db + rng.uniform(-3, 3)), SILENCE
            else:
                key = keys[-1] if keys and keys[-1] != SILENCE and rng.random() < 0.1 else int(rng.integers(16))
                span = TONE if rng.random() < 0.6 else (0.04, 0.07)
                tone = digit(rng, key, seconds(rng, span), level_db + rng.uniform(-2, 2))
            pieces += [gap, tone]
            keys += [SILENCE, key]
            total += len(gap) + len(tone)
        return finish(pieces, keys)

    def noise(self, speech):
        """White, coloured, humming or speech-like (with the given probability), or two of them. Mean square 1."""
        rng, n = self.rng, self.length
        y = np.zeros(n)
        p = np.array([0.67, 0.25, 0.08, 0]) * (1 - speech) + np.array([0, 0, 0, speech])
        kinds = rng.choice(4, rng.integers(1, 3), replace=False, p=p)
        for kind in kinds:
            if kind == 3:
                at = rng.integers(len(self.bank) - n)
                part = self.bank[at:at + n]
            elif kind == 2:
                f = rng.choice([50, 60]) * np.arange(1, 12)
                part = sines(rng, f, rng.random(11) / np.arange(1, 12), n)
            else:
                part = rng.standard_normal(n)
                if kind == 1:
                    part = lfilter([1], [1, -rng.uniform(-0.7, 0.97)], part)
            y += part / np.sqrt(np.mean(part ** 2) + 1e-9) * 10 ** (rng.uniform(-15, 0) / 20 if len(kinds) > 1 else 0)
        return y / np.sqrt(np.mean(y ** 2) + 1e-9)

    def clip(self):                                         # -> float32 [length], int64 [length // HOP]
        rng = self.rng
        level = rng.uniform(*LEVEL)
        snr = rng.uniform(-8, 30)
        alone = rng.random() < 0.25                         # nothing but interference, most often speech
        if alone:
            tones, labels, power = np.zeros(self.length), np.full(self.length // HOP, SILENCE), 0
        else:
            tones, labels, power = self.events(level, strict=snr > 8)
        power = power or 10 ** (level / 10)
        y = tones[:self.length]
        if alone or rng.random() > 0.05:
            y = y + self.noise(0.8 if alone else 0.4) * np.sqrt(power / 10 ** (snr / 10))
        if rng.random() < 0.08:                             # overdriven: clips 3 to 12 dB below its peak
            peak = np.abs(y).max() * 10 ** (-rng.uniform(3, 12) / 20)
            y = np.clip(y, -peak, peak)
        return np.clip(y, -1, 1).astype(np.float32), labels[:self.length // HOP]

    def batch(self, size):
        clips, labels = zip(*(self.clip() for _ in range(size)))
        return np.stack(clips)[:, None], np.stack(labels)
