#!/usr/bin/env python3
"""M5: see examples/networks/m5.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn

import reference


class M5(nn.Module):
    def __init__(self):
        super().__init__()
        for i, (n_in, n_out, width) in enumerate(((1, 32, 80), (32, 32, 3), (32, 64, 3), (64, 64, 3)), 1):
            self.add_module(f"conv{i}", nn.Conv1d(n_in, n_out, width, stride=16 if i == 1 else 1))
            self.add_module(f"bn{i}", nn.BatchNorm1d(n_out))
        self.fc1 = nn.Linear(64, 35)

    def forward(self, x):
        for i in range(1, 5):
            x = nn.functional.max_pool1d(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)).relu(), 4)
        return self.fc1(x.mean(-1, keepdim=True).transpose(1, 2)).log_softmax(2)


reference.write("m5", M5(), {"audio": [2, 1, 8000]}, ["log_probabilities"])
