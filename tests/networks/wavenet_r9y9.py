#!/usr/bin/env python3
"""r9y9's WaveNet vocoder: see examples/networks/wavenet_r9y9.yaml. Run with a Python that has PyTorch (1.13)."""

import math

from torch import nn
from torch.nn.utils import weight_norm

import reference


class Layer(nn.Module):
    def __init__(self, n, dilation):
        super().__init__()
        self.reach = 2 * dilation
        self.conv = weight_norm(nn.Conv1d(n, 2 * n, 3, dilation=dilation))
        self.conv1x1c = weight_norm(nn.Conv1d(80, 2 * n, 1))
        self.conv1x1_out = weight_norm(nn.Conv1d(n, n, 1))
        self.conv1x1_skip = weight_norm(nn.Conv1d(n, n, 1))

    def forward(self, x, c):
        a, b = (self.conv(nn.functional.pad(x, (self.reach, 0))) + self.conv1x1c(c)).chunk(2, 1)
        y = a.tanh() * b.sigmoid()
        return (self.conv1x1_out(y) + x) * math.sqrt(0.5), self.conv1x1_skip(y)


class WaveNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.first_conv = weight_norm(nn.Conv1d(1, n, 1))
        self.conv_layers = nn.ModuleList([Layer(n, 2**(i % 6)) for i in range(24)])
        self.last_conv_layers = nn.Sequential(nn.ReLU(), weight_norm(nn.Conv1d(n, n, 1)), nn.ReLU(), weight_norm(nn.Conv1d(n, 30, 1)))

    def forward(self, x, c):
        x, skips = self.first_conv(x), 0
        for layer in self.conv_layers:
            x, skip = layer(x, c)
            skips = skips + skip
        return self.last_conv_layers(skips * math.sqrt(1 / 24))


reference.write("wavenet_r9y9", WaveNet(8), {"audio": [1, 1, 150], "mel": [1, 80, 150]}, ["mixture"], [["128", "8"], ["256", "16"]])
