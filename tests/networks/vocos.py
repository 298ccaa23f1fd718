#!/usr/bin/env python3
"""Vocos: see examples/networks/vocos.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn

import reference


class ConvNeXt(nn.Module):
    def __init__(self, n, intermediate):
        super().__init__()
        self.dwconv = nn.Conv1d(n, n, 7, padding=3, groups=n)
        self.norm = nn.LayerNorm(n, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(n, intermediate), nn.Linear(intermediate, n)
        self.gamma = nn.Parameter(torch.ones(n))

    def forward(self, x):
        y = self.norm(self.dwconv(x).transpose(1, 2))
        y = self.pwconv2(nn.functional.gelu(self.pwconv1(y)))
        return x + (self.gamma * y).transpose(1, 2)


class Vocos(nn.Module):
    def __init__(self, n, intermediate, depth, n_fft, hop_length):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.backbone, self.head = nn.Module(), nn.Module()
        self.backbone.embed = nn.Conv1d(100, n, 7, padding=3)
        self.backbone.norm = nn.LayerNorm(n, eps=1e-6)
        self.backbone.convnext = nn.Sequential(*[ConvNeXt(n, intermediate) for _ in range(depth)])
        self.backbone.final_layer_norm = nn.LayerNorm(n, eps=1e-6)
        self.head.out = nn.Linear(n, n_fft + 2)

    def forward(self, mel):
        x = self.backbone.norm(self.backbone.embed(mel).transpose(1, 2)).transpose(1, 2)
        x = self.backbone.final_layer_norm(self.backbone.convnext(x).transpose(1, 2))
        size, angle = self.head.out(x).transpose(1, 2).chunk(2, 1)
        spectrum = torch.polar(size.exp().clamp(max=100), angle)
        window = torch.hann_window(self.n_fft, dtype=torch.float64)
        return torch.istft(spectrum, self.n_fft, self.hop_length, window=window)[:, None]


reference.write("vocos", Vocos(24, 40, 8, 128, 32), {"mel": [2, 100, 21]}, ["audio"],
                [["channels: 512", "channels: 24"], ["1536", "40"], ["n_fft: 1024, hop_length: 256", "n_fft: 128, hop_length: 32"]])
