#!/usr/bin/env python3
"""InceptionTime: see examples/networks/inceptiontime.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn

import reference


class Inception(nn.Module):
    def __init__(self, n_in, n):
        super().__init__()
        self.bottleneck = nn.Conv1d(n_in, n, 1, bias=False) if n_in > 1 else nn.Identity()
        n_in = n if n_in > 1 else 1
        self.convs = nn.ModuleList([nn.Conv1d(n_in, n, k, padding=k // 2, bias=False) for k in (39, 19, 9)])
        self.maxconvpool = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(n_in if n_in == 1 else 4 * n, n, 1, bias=False))
        self.bn = nn.BatchNorm1d(4 * n)

    def forward(self, x):
        y = self.bottleneck(x)
        return self.bn(torch.cat([conv(y) for conv in self.convs] + [self.maxconvpool(x)], 1)).relu()


class InceptionTime(nn.Module):
    def __init__(self, n=32, classes=10):
        super().__init__()
        self.inceptionblock = nn.Module()
        self.inceptionblock.inception = nn.ModuleList([Inception(4 * n if i else 1, n) for i in range(6)])
        self.inceptionblock.shortcut = nn.ModuleList([
            nn.Sequential(nn.Conv1d(1, 4 * n, 1, bias=False), nn.BatchNorm1d(4 * n)), nn.BatchNorm1d(4 * n)])
        self.fc = nn.Linear(4 * n, classes)

    def forward(self, x):
        shortcut = x
        for i, inception in enumerate(self.inceptionblock.inception):
            x = inception(x)
            if i % 3 == 2:
                x = shortcut = (x + self.inceptionblock.shortcut[i // 3](shortcut)).relu()
        return self.fc(x.mean(-1))


reference.write("inceptiontime", InceptionTime(), {"series": [2, 1, 60]}, ["logits"])
