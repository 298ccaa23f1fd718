#!/usr/bin/env python3
"""BigVGAN v2's generator: see examples/networks/bigvgan_v2.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import weight_norm

import reference

TAPS = 12


class Filter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("filter", torch.ones(1, 1, TAPS) / TAPS)


class Activation(nn.Module):
    """x + sin^2(exp(alpha) x) / exp(beta) at twice the rate, the ends of the signal going on as they are."""

    def __init__(self, n):
        super().__init__()
        self.act, self.downsample = nn.Module(), nn.Module()
        self.act.alpha, self.act.beta = nn.Parameter(torch.zeros(n)), nn.Parameter(torch.zeros(n))
        self.upsample, self.downsample.lowpass = Filter(), Filter()

    def forward(self, x):
        n = x.shape[1]
        up, down = (filter.filter.expand(n, 1, TAPS) for filter in (self.upsample, self.downsample.lowpass))
        x = 2 * F.conv_transpose1d(F.pad(x, (5, 5), "replicate"), up, stride=2, groups=n)[:, :, 15:-15]
        alpha, beta = self.act.alpha.exp()[:, None], self.act.beta.exp()[:, None]
        x = x + (alpha * x).sin().square() / (beta + 1e-9)
        return F.conv1d(F.pad(x, (5, 6), "replicate"), down, stride=2, groups=n)


class Residual(nn.Module):
    def __init__(self, n, width):
        super().__init__()
        dilations = (1, 3, 5)
        self.convs1 = nn.ModuleList([weight_norm(nn.Conv1d(n, n, width, dilation=d, padding=(width - 1) * d // 2)) for d in dilations])
        self.convs2 = nn.ModuleList([weight_norm(nn.Conv1d(n, n, width, padding=width // 2)) for _ in dilations])
        self.activations = nn.ModuleList([Activation(n) for _ in range(6)])

    def forward(self, x):
        for i in range(3):
            y = self.convs1[i](self.activations[2 * i](x))
            x = x + self.convs2[i](self.activations[2 * i + 1](y))
        return x


class Generator(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv_pre = weight_norm(nn.Conv1d(100, n, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate in (4, 4, 2, 2, 2, 2):
            self.ups.append(nn.ModuleList([weight_norm(nn.ConvTranspose1d(n, n // 2, 2 * rate, rate, padding=rate // 2))]))
            n //= 2
            self.resblocks.extend(Residual(n, width) for width in (3, 7, 11))
        self.activation_post = Activation(n)
        self.conv_post = weight_norm(nn.Conv1d(n, 1, 7, padding=3, bias=False))

    def forward(self, x):
        x = self.conv_pre(x)
        for i, up in enumerate(self.ups):
            x = up[0](x)
            x = sum(block(x) for block in self.resblocks[3 * i:3 * i + 3]) / 3
        return self.conv_post(self.activation_post(x)).clamp(-1, 1)


reference.write("bigvgan_v2", Generator(64), {"mel": [1, 100, 2]}, ["audio"], [["channels: 1536", "channels: 64"]], gain=0.25)
