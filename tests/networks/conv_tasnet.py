#!/usr/bin/env python3
"""Conv-TasNet: see examples/networks/conv_tasnet.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn

import reference


class GlobalNorm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))

    def forward(self, x):
        mean = x.mean((1, 2), keepdim=True)
        variance = (x - mean).square().mean((1, 2), keepdim=True)
        return (x - mean) / (variance + 1e-8).sqrt() * self.gamma[:, None] + self.beta[:, None]


class Unit(nn.Module):
    def __init__(self, n, hidden, dilation):
        super().__init__()
        self.shared_block = nn.Sequential(
            nn.Conv1d(n, hidden, 1), nn.PReLU(), GlobalNorm(hidden),
            nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden), nn.PReLU(), GlobalNorm(hidden))
        self.res_conv, self.skip_conv = nn.Conv1d(hidden, n, 1), nn.Conv1d(hidden, n, 1)

    def forward(self, x):
        y = self.shared_block(x)
        return self.res_conv(y) + x, self.skip_conv(y)


class Filterbank(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.filterbank = nn.Module()
        self.filterbank._filters = nn.Parameter(torch.zeros(n, 1, 16))


class ConvTasNet(nn.Module):
    def __init__(self, n, hidden):
        super().__init__()
        self.encoder, self.decoder = Filterbank(hidden), Filterbank(hidden)
        self.masker = nn.Module()
        self.masker.bottleneck = nn.Sequential(GlobalNorm(hidden), nn.Conv1d(hidden, n, 1))
        self.masker.TCN = nn.ModuleList([Unit(n, hidden, 2**(i % 8)) for i in range(24)])
        self.masker.mask_net = nn.Sequential(nn.PReLU(), nn.Conv1d(n, 2 * hidden, 1))

    def forward(self, x):
        encoded = nn.functional.conv1d(x, self.encoder.filterbank._filters, stride=8)
        y, skips = self.masker.bottleneck(encoded), 0
        for unit in self.masker.TCN:
            y, skip = unit(y)
            skips = skips + skip
        voices = [nn.functional.conv_transpose1d(mask * encoded, self.decoder.filterbank._filters, stride=8)
                  for mask in self.masker.mask_net(skips).relu().chunk(2, 1)]
        return torch.cat(voices, 1)


reference.write("conv_tasnet", ConvTasNet(8, 24), {"mixture": [1, 1, 1216]}, ["voices"], [["128, kernel_size", "8, kernel_size"], ["512", "24"], ["1024", "48"],
                ["in_channels: 128", "in_channels: 8"]], lambda name: name.replace("filterbank._filters", "weight"))
