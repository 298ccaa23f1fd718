#!/usr/bin/env python3
"""SpliceAI-10k: see examples/networks/spliceai_10k.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn

import reference


class Residual(nn.Module):
    def __init__(self, n, width, dilation):
        super().__init__()
        self.bn1 = nn.BatchNorm1d(n, eps=1e-3)
        self.conv1 = nn.Conv1d(n, n, width, dilation=dilation, padding="same")
        self.bn2 = nn.BatchNorm1d(n, eps=1e-3)
        self.conv2 = nn.Conv1d(n, n, width, dilation=dilation, padding="same")

    def forward(self, x):
        return x + self.conv2(self.bn2(self.conv1(self.bn1(x).relu())).relu())


class SpliceAi(nn.Module):
    def __init__(self, n=32, context=10000):
        super().__init__()
        self.crop = context // 2
        self.conv = nn.Conv1d(4, n, 1)
        self.skip = nn.Conv1d(n, n, 1)
        for i, (width, dilation) in enumerate(((11, 1), (11, 4), (21, 10), (41, 25)), 1):
            self.add_module(f"net{i}", nn.Sequential(*[Residual(n, width, dilation) for _ in range(4)]))
            self.add_module(f"skip{i}", nn.Conv1d(n, n, 1))
        self.head = nn.Conv1d(n, 3, 1)

    def forward(self, x):
        x = self.conv(x)
        total = self.skip(x)
        for i in range(1, 5):
            x = getattr(self, f"net{i}")(x)
            total = total + getattr(self, f"skip{i}")(x)
        return self.head(total[:, :, self.crop:-self.crop]).softmax(1)


reference.write("spliceai_10k", SpliceAi(4), {"sequence": [1, 4, 10012]}, ["probabilities"],
                [[f"{field}: 32", f"{field}: 4"] for field in ("in_channels", "out_channels", "num_features")])
