#!/usr/bin/env python3
"""SEGAN's generator: see examples/networks/segan.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn

import reference


class Generator(nn.Module):
    def __init__(self, channels):
        super().__init__()
        for i in range(1, 12):
            self.add_module(f"enc{i}", nn.Conv1d(channels[i - 1], channels[i], 32, 2, 15))
            self.add_module(f"enc{i}_nl", nn.PReLU())
        for i in range(10, 0, -1):
            self.add_module(f"dec{i}", nn.ConvTranspose1d(2 * channels[i + 1], channels[i], 32, 2, 15))
            self.add_module(f"dec{i}_nl", nn.PReLU())
        self.dec_final = nn.ConvTranspose1d(2 * channels[1], 1, 32, 2, 15)

    def forward(self, x, z):
        skips = [None]
        for i in range(1, 12):
            skips.append(getattr(self, f"enc{i}")(x))
            x = getattr(self, f"enc{i}_nl")(skips[-1])
        x = torch.cat([x, z], 1)
        for i in range(10, 0, -1):
            x = getattr(self, f"dec{i}_nl")(torch.cat([getattr(self, f"dec{i}")(x), skips[i]], 1))
        return self.dec_final(x).tanh()


LARGE = [1, 16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024]
SMALL = [1] + [n // 16 for n in LARGE[1:]]
replace = [["1024, 8]", "64, 2]"], ["16384", "4096"], ["in_channels: 32, ", "in_channels: 2, "]]
for i in range(1, 11):  # upwards, so that none is replaced twice
    replace.append([f"in_channels: {2 * n[i + 1]}, channels: {n[i]}}}" for n in (LARGE, SMALL)])
replace += [[str(n[a:a + 11]) for n in (LARGE, SMALL)] for a in (0, 1)]
reference.write("segan", Generator(SMALL), {"noisy": [1, 1, 4096], "z": [1, 64, 2]}, ["clean"], replace, gain=0.5)
