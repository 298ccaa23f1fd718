#!/usr/bin/env python3
"""HiFi-GAN's generators: see examples/networks/hifigan_v1.yaml and so on. Run with a Python that has PyTorch (1.13)."""

from torch import nn
from torch.nn import functional as F
from torch.nn.utils import weight_norm

import reference


def conv(n, width, dilation):
    return weight_norm(nn.Conv1d(n, n, width, dilation=dilation, padding=(width - 1) * dilation // 2))


class Residual1(nn.Module):
    def __init__(self, n, width):
        super().__init__()
        self.convs1 = nn.ModuleList([conv(n, width, d) for d in (1, 3, 5)])
        self.convs2 = nn.ModuleList([conv(n, width, 1) for _ in range(3)])

    def forward(self, x):
        for c1, c2 in zip(self.convs1, self.convs2):
            x = x + c2(F.leaky_relu(c1(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Residual2(nn.Module):
    def __init__(self, n, width, dilations):
        super().__init__()
        self.convs = nn.ModuleList([conv(n, width, d) for d in dilations])

    def forward(self, x):
        for c in self.convs:
            x = x + c(F.leaky_relu(x, 0.1))
        return x


class Generator(nn.Module):
    def __init__(self, n, rates, widths, residuals):
        super().__init__()
        self.conv_pre = weight_norm(nn.Conv1d(80, n, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, width in zip(rates, widths):
            self.ups.append(weight_norm(nn.ConvTranspose1d(n, n // 2, width, rate, padding=(width - rate) // 2)))
            n //= 2
            self.resblocks.extend(residuals(n))
        self.conv_post = weight_norm(nn.Conv1d(n, 1, 7, padding=3))

    def forward(self, x):
        x = self.conv_pre(x)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(block(x) for block in self.resblocks[3 * i:3 * i + 3]) / 3
        return self.conv_post(F.leaky_relu(x)).tanh()


def three(n):
    return [Residual1(n, width) for width in (3, 7, 11)]


def three_small(n):
    return [Residual2(n, 3, (1, 2)), Residual2(n, 5, (2, 6)), Residual2(n, 7, (3, 12))]


mel = {"mel": [1, 80, 3]}
reference.write("hifigan_v1", Generator(32, (8, 8, 2, 2), (16, 16, 4, 4), three), mel, ["audio"], [["channels: 512", "channels: 32"]])
reference.write("hifigan_v2", Generator(32, (8, 8, 2, 2), (16, 16, 4, 4), three), mel, ["audio"], [["channels: 128", "channels: 32"]])
reference.write("hifigan_v3", Generator(16, (8, 8, 4), (16, 16, 8), three_small), mel, ["audio"], [["channels: 256", "channels: 16"]])
