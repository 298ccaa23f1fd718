#!/usr/bin/env python3
"""Basenji's trunk: see examples/networks/basenji.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn

import reference


def gelu(x):
    return x * (1.702 * x).sigmoid()


class Unit(nn.Module):
    def __init__(self, n_in, n_out, width, dilation=1, pool=1):
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, width, dilation=dilation, padding="same", bias=False)
        self.norm = nn.BatchNorm1d(n_out, eps=1e-3)
        self.pool = pool

    def forward(self, x):
        return nn.functional.max_pool1d(self.norm(self.conv(gelu(x))), self.pool)


class Residual(nn.Module):
    def __init__(self, n, dilation):
        super().__init__()
        self.a, self.b = Unit(n, n // 2, 3, dilation), Unit(n // 2, n, 1)

    def forward(self, x):
        return x + self.b(self.a(x))


class Basenji(nn.Module):
    def __init__(self, channels, end):
        super().__init__()
        self.stem = Unit(4, channels[0], 15, pool=2)
        self.tower = nn.Sequential(*[Unit(*channels[i:i + 2], 5, pool=2) for i in range(6)])
        self.net = nn.Sequential(*[Residual(channels[-1], d) for d in (1, 2, 2, 3, 5, 8, 11, 17, 26, 38, 58)])
        self.end = Unit(channels[-1], end, 1)

    def forward(self, x):
        return gelu(self.end(self.net(self.tower(self.stem(x)))[:, :, 64:-64]))


reference.write("basenji", Basenji((3, 3, 4, 4, 5, 5, 6), 8), {"sequence": [1, 4, 18432]}, ["features"],
                [["channels: 288", "channels: 3"], ["[288, 339, 399, 470, 554, 652]", "[3, 3, 4, 4, 5, 5]"],
                 ["[339, 399, 470, 554, 652, 768]", "[3, 4, 4, 5, 5, 6]"], ["channels: 768", "channels: 6"],
                 ["channels: 384", "channels: 3"], ["channels: 1536", "channels: 8"]], gain=0.5)
