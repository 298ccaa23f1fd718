#!/usr/bin/env python3
"""MelGAN's generator: see examples/networks/melgan.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn
from torch.nn.utils import weight_norm

import reference


class Residual(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.block = nn.Sequential(nn.LeakyReLU(0.2), nn.ReflectionPad1d(dilation),
                                   weight_norm(nn.Conv1d(channels, channels, 3, dilation=dilation)), nn.LeakyReLU(0.2),
                                   weight_norm(nn.Conv1d(channels, channels, 1)))
        self.shortcut = weight_norm(nn.Conv1d(channels, channels, 1))

    def forward(self, x):
        return self.shortcut(x) + self.block(x)


class Generator(nn.Module):
    def __init__(self, channels):
        super().__init__()
        model = [nn.ReflectionPad1d(3), weight_norm(nn.Conv1d(80, channels, 7))]
        for rate in (8, 8, 2, 2):
            model += [nn.LeakyReLU(0.2), weight_norm(nn.ConvTranspose1d(channels, channels // 2, 2 * rate, rate, rate // 2))]
            channels //= 2
            model += [Residual(channels, 3**j) for j in range(3)]
        model += [nn.LeakyReLU(0.2), nn.ReflectionPad1d(3), weight_norm(nn.Conv1d(channels, 1, 7)), nn.Tanh()]
        self.model = nn.Sequential(*model)

    def forward(self, mel):
        return self.model(mel)


reference.write("melgan", Generator(32), {"mel": [1, 80, 5]}, ["audio"], [["channels: 512", "channels: 32"]])
