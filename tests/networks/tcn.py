#!/usr/bin/env python3
"""TCN: see examples/networks/tcn.yaml. Run with a Python that has PyTorch (made with 1.13)."""

from torch import nn
from torch.nn.utils import weight_norm

import reference


class Block(nn.Module):
    def __init__(self, n_in, n_out, kernel_size, dilation):
        super().__init__()
        self.cut = (kernel_size - 1) * dilation
        self.conv1 = weight_norm(nn.Conv1d(n_in, n_out, kernel_size, padding=self.cut, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(n_out, n_out, kernel_size, padding=self.cut, dilation=dilation))
        self.downsample = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x):
        y = self.conv1(x)[:, :, :-self.cut].relu()
        y = self.conv2(y)[:, :, :-self.cut].relu()
        return (y + self.downsample(x)).relu()


class Tcn(nn.Module):
    def __init__(self):
        super().__init__()
        self.tcn = nn.Module()
        self.tcn.network = nn.Sequential(*[Block(1 if i == 0 else 25, 25, 7, 2**i) for i in range(8)])
        self.linear = nn.Linear(25, 10)

    def forward(self, x):
        return self.linear(self.tcn.network(x)[:, :, -1]).log_softmax(1)


reference.write("tcn", Tcn(), {"pixels": [2, 1, 784]}, ["log_probabilities"])
