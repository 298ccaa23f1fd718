#!/usr/bin/env python3
"""The time branch of HTDemucs: see examples/networks/htdemucs_time.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn
from torch.nn import functional as F

import reference


class Scale(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n))

    def forward(self, x):
        return self.scale[:, None] * x


class DConv(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(
            nn.Conv1d(n, n // 8, 3, dilation=d, padding=d), nn.GroupNorm(1, n // 8), nn.GELU(),
            nn.Conv1d(n // 8, 2 * n, 1), nn.GroupNorm(1, 2 * n), nn.GLU(1), Scale(n)) for d in (1, 2)])

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


class Down(nn.Module):
    def __init__(self, n_in, n):
        super().__init__()
        self.conv, self.dconv, self.rewrite = nn.Conv1d(n_in, n, 8, 4, 2), DConv(n), nn.Conv1d(n, 2 * n, 1)

    def forward(self, x):
        return F.glu(self.rewrite(self.dconv(F.gelu(self.conv(x)))), 1)


class Up(nn.Module):
    def __init__(self, n, n_out):
        super().__init__()
        self.rewrite, self.dconv = nn.Conv1d(n, 2 * n, 3, padding=1), DConv(n)
        self.conv_tr = nn.ConvTranspose1d(n, n_out, 8, 4)

    def forward(self, x, skip):
        x = self.conv_tr(self.dconv(F.glu(self.rewrite(x + skip), 1)))
        return x[..., 2:-2]


class TimeBranch(nn.Module):
    def __init__(self, n):
        super().__init__()
        widths = [n, 2 * n, 4 * n, 8 * n]
        self.tencoder = nn.ModuleList([Down(*pair) for pair in zip([2] + widths, widths)])
        self.tdecoder = nn.ModuleList([Up(*pair) for pair in zip(widths[::-1], widths[-2::-1] + [2 * 4])])

    def forward(self, mixture):
        mean, deviation = mixture.mean((1, 2), keepdim=True), mixture.std((1, 2), keepdim=True)
        x, skips = (mixture - mean) / (1e-5 + deviation), []
        for layer in self.tencoder:
            x = layer(x)
            skips.append(x)
        latent = x
        for i, layer in enumerate(self.tdecoder):
            x = layer(F.gelu(x) if i > 0 else x, skips.pop())
        return latent, x * deviation + mean


reference.write("htdemucs_time", TimeBranch(8), {"mixture": [2, 2, 512]}, ["latent", "sources"], [["channels: 48}", "channels: 8}"]])
