"""The keypad network in PyTorch, the rule that turns its probabilities into digits, and the files both live in.

Run it on sound files to print their digits:  python3 keypad.py call.wav
The layers carry the names that keypad.yaml gives them, so state_dict() and strand agree on every path.
"""
import json
import struct
import sys
import wave
from pathlib import Path

import numpy as np
import torch
from torch import nn

KEYS = "123A456B789C*0#D"   # channel order of the output; channel 16 is silence
SILENCE = len(KEYS)
RATE = 8000                 # Hz
HOP = 80                    # samples a frame: frame t is centred on samples 80 t .. 80 t + 79
CHANNELS = 48
FILTERS, FILTER_LENGTH, STRIDE = 64, 200, 4
DILATIONS = (1, 2, 4, 8)

# The decoding rule, see decode(): frames in a row before a key counts, and before silence does.
FRAMES_ON, FRAMES_OFF = 3, 2

HERE = Path(__file__).resolve().parent


class Residual(nn.Module):
    """x + norm(conv(relu(norm(dilated conv(x))))), then ReLU; the block `residual` of keypad.yaml."""

    def __init__(self, channels, dilation):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm1d(channels)

    def forward(self, x):                                   # [N, channels, frames]
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + x)


class Keypad(nn.Module):
    def __init__(self):
        super().__init__()
        # (kernel - stride) / 2 on either side puts frame t's centre at the middle of its own 80 samples.
        self.filters = nn.Conv1d(1, FILTERS, FILTER_LENGTH, stride=STRIDE, padding=(FILTER_LENGTH - STRIDE) // 2)
        self.envelope = nn.AvgPool1d(HOP // STRIDE)
        self.mix = nn.Conv1d(FILTERS, CHANNELS, 1, bias=False)
        self.mix_norm = nn.BatchNorm1d(CHANNELS)
        self.net = nn.Sequential(*[Residual(CHANNELS, d) for d in DILATIONS])
        self.head = nn.Conv1d(CHANNELS, len(KEYS) + 1, 1)

    def logits(self, audio):                                # [N, 1, samples] -> [N, 17, samples // 80]
        x = self.envelope(torch.relu(self.filters(audio)))
        x = torch.relu(self.mix_norm(self.mix(x)))
        return self.head(self.net(x))

    def forward(self, audio):
        return torch.softmax(self.logits(audio), dim=1)


def choose(probabilities):
    """[17, frames] -> a channel a frame: the key above 0.5, else silence. At most one can be above 0.5."""
    keys = probabilities[:SILENCE]
    return np.where(keys.max(axis=0) > 0.5, keys.argmax(axis=0), SILENCE)


def decode(frames, frames_on=FRAMES_ON, frames_off=FRAMES_OFF):
    """Digits from one channel a frame. A key counts once it stands for frames_on frames in a row; the same key
    counts again only after frames_off frames of silence in a row, or after another key."""
    digits, held, last, run = [], SILENCE, SILENCE, 0
    for c in frames:
        run = run + 1 if c == last else 1
        last = c
        if c == SILENCE:
            if run >= frames_off:
                held = SILENCE
        elif run >= frames_on and c != held:
            held = c
            digits.append(KEYS[c])
    return "".join(digits)


def edit_distance(truth, heard):
    """(substitutions, deletions, insertions) of a shortest edit from truth to heard."""
    row = [(j, 0, 0, j) for j in range(len(heard) + 1)]     # (cost, substitutions, deletions, insertions)
    for i, t in enumerate(truth, 1):
        above, row = row, [(i, 0, i, 0)]
        for j, h in enumerate(heard, 1):
            c, s, d, n = above[j - 1]
            best = (c, s, d, n) if t == h else (c + 1, s + 1, d, n)
            c, s, d, n = above[j]
            best = min(best, (c + 1, s, d + 1, n))
            c, s, d, n = row[j - 1]
            row.append(min(best, (c + 1, s, d, n + 1)))
    return row[-1][1:]


def save_weights(model, path):
    """safetensors: the header's length as uint64, the header in JSON, then the tensors' bytes end to end."""
    header, blobs, at = {}, [], 0
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        data = tensor.detach().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def load_model(path=HERE / "keypad.safetensors"):
    raw = Path(path).read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + size])
    state = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        state[name] = torch.from_numpy(np.frombuffer(raw[begin:end], "<f4").reshape(entry["shape"]).copy())
    model = Keypad()
    missing = model.load_state_dict(state, strict=False)
    bad = [n for n in missing.missing_keys if not n.endswith("num_batches_tracked")] + missing.unexpected_keys
    if bad:
        raise ValueError(f"{path} does not fit the network: {bad}")
    return model.eval()


def read_wav(path):
    """16-bit mono at 8 kHz -> float32 in [-1, 1), sample / 32768."""
    with wave.open(str(path)) as f:
        if (f.getframerate(), f.getnchannels(), f.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path}: expected 8 kHz, mono, 16 bits")
        return np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(np.float32) / np.float32(32768)


def probabilities(model, audio):                            # [samples] or [N, samples] -> [..., 17, frames]
    with torch.no_grad():
        x = torch.from_numpy(np.ascontiguousarray(audio, np.float32)).reshape(-1, 1, audio.shape[-1])
        return model(x).numpy().reshape(*audio.shape[:-1], SILENCE + 1, -1)


if __name__ == "__main__":
    network = load_model()
    for name in sys.argv[1:]:
        print(decode(choose(probabilities(network, read_wav(name)))))
