#!/usr/bin/env python3
"""A residual network for ECGs: see examples/networks/ecg_resnet.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn

import reference


class Block(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv1d(n_in, n_out, 17, padding=8, bias=False)
        self.bn1 = nn.BatchNorm1d(n_out)
        self.conv2 = nn.Conv1d(n_out, n_out, 17, stride=stride, padding=(18 - stride) // 2, bias=False)
        self.bn2 = nn.BatchNorm1d(n_out)
        self.skip_connection = nn.Sequential()
        if stride > 1:
            self.skip_connection.append(nn.MaxPool1d(stride))
        if n_in != n_out:
            self.skip_connection.append(nn.Conv1d(n_in, n_out, 1, bias=False))

    def forward(self, x, y):
        y = self.conv2(self.bn1(self.conv1(x)).relu()) + self.skip_connection(y)
        return self.bn2(y).relu(), y


class ResNet1d(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(8, 8, 17, padding=8, bias=False)
        self.bn1 = nn.BatchNorm1d(8)
        channels = (8, 8, 12, 16, 20, 24)
        for i in range(5):
            self.add_module(f"resblock1d_{i}", Block(*channels[i:i + 2], 4 if i else 1))
        self.lin = nn.Linear(24, 1)

    def forward(self, x):
        x = y = self.bn1(self.conv1(x))
        for i in range(5):
            x, y = getattr(self, f"resblock1d_{i}")(x, y)
        return self.lin(x.flatten(1))


reference.write("ecg_resnet", ResNet1d(), {"ecg": [1, 8, 256]}, ["age"],
                [["[batch, 8, 4096]", "[batch, 8, 256]"], ["channels: 64", "channels: 8"], ["num_features: 64", "num_features: 8"],
                 ["[64, 128, 196, 256]", "[8, 12, 16, 20]"], ["[128, 196, 256, 320]", "[12, 16, 20, 24]"],
                 ["in_features: 5120", "in_features: 24"]])
