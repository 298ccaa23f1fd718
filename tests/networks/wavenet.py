#!/usr/bin/env python3
"""WaveNet of two stacks of ten layers: see examples/networks/wavenet.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn

import reference


class WaveNet(nn.Module):
    def __init__(self, residual=8, skip=16, classes=4):
        super().__init__()
        self.start_conv = nn.Conv1d(classes, residual, 1)
        self.filter_convs, self.gate_convs, self.residual_convs, self.skip_convs = (nn.ModuleList() for _ in range(4))
        for i in range(20):
            self.filter_convs.append(nn.Conv1d(residual, residual, 2, dilation=2**(i % 10)))
            self.gate_convs.append(nn.Conv1d(residual, residual, 2, dilation=2**(i % 10)))
            self.residual_convs.append(nn.Conv1d(residual, residual, 1))
            self.skip_convs.append(nn.Conv1d(residual, skip, 1))
        self.end_conv_1 = nn.Conv1d(skip, classes, 1)
        self.end_conv_2 = nn.Conv1d(classes, classes, 1)

    def forward(self, x):
        x = self.start_conv(x)
        total = 0
        for i in range(20):
            past = nn.functional.pad(x, (2**(i % 10), 0))
            gated = self.filter_convs[i](past).tanh() * self.gate_convs[i](past).sigmoid()
            x = x + self.residual_convs[i](gated)
            total = total + self.skip_convs[i](gated)
        return self.end_conv_2(self.end_conv_1(total.relu()).relu())


reference.write("wavenet", WaveNet(), {"samples": [1, 4, 1100]}, ["logits"],
                [["samples: {shape: [batch, 256,", "samples: {shape: [batch, 4,"], ["_channels: 256", "_channels: 4"],
                 ["_channels: 32", "_channels: 8"], ["_channels: 64", "_channels: 16"]])
