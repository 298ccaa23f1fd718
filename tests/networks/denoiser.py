#!/usr/bin/env python3
"""denoiser's causal Demucs: see examples/networks/denoiser.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn
from torch.nn import functional as F

import reference

ZEROS = 56
window = torch.hann_window(4 * ZEROS + 1, periodic=False, dtype=torch.float64)[1::2]
kernel = (torch.sinc(torch.arange(2 * ZEROS, dtype=torch.float64) + 0.5 - ZEROS) * window)[None, None]


def twice(x):
    """The samples, and between them what a sinc makes of their neighbours; one channel."""
    return torch.stack([x, F.conv1d(x, kernel, padding=ZEROS)[..., 1:]], -1).flatten(-2)


def half(x):
    """The even samples' mean with what the odd ones give at their times; a last odd one is 0 where the length is odd."""
    x = F.pad(x, (0, x.shape[-1] % 2))
    return (x[..., ::2] + F.conv1d(x[..., 1::2], kernel, padding=ZEROS)[..., :-1]) / 2


class Demucs(nn.Module):
    def __init__(self, n):
        super().__init__()
        widths = [1] + [n * 2**i for i in range(5)]
        self.encoder, self.decoder, self.lstm = nn.ModuleList(), nn.ModuleList(), nn.Module()
        for n_in, n in zip(widths, widths[1:]):
            self.encoder.append(nn.Sequential(nn.Conv1d(n_in, n, 8, 4), nn.ReLU(), nn.Conv1d(n, 2 * n, 1), nn.GLU(1)))
            up = [nn.Conv1d(n, 2 * n, 1), nn.GLU(1), nn.ConvTranspose1d(n, n_in, 8, 4)]
            self.decoder.insert(0, nn.Sequential(*up, *([nn.ReLU()] if n_in > 1 else [])))
        self.lstm.lstm = nn.LSTM(n, n, 2)

    def forward(self, noisy):
        deviation = noisy.std(-1, keepdim=True)
        x, skips = twice(twice(noisy / (1e-3 + deviation))), []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        x = self.lstm.lstm(x.permute(2, 0, 1))[0].permute(1, 2, 0)
        for layer in self.decoder:
            x = layer(x + skips.pop())
        return half(half(x)) * deviation


reference.write("denoiser", Demucs(2), {"noisy": [2, 1, 256 * 5 + 341]}, ["clean"], [["channels: 48", "channels: 2"]])
