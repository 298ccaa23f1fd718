#!/usr/bin/env python3
"""QuartzNet 15x5: see examples/networks/quartznet_15x5.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn

import reference


class Masked(nn.Module):
    def __init__(self, *args, **fields):
        super().__init__()
        self.conv = nn.Conv1d(*args, bias=False, **fields)

    def forward(self, x):
        return self.conv(x)


class Block(nn.Module):
    def __init__(self, n_in, n_out, width, repeat=5, residual=True, stride=1, dilation=1, separable=True):
        super().__init__()
        layers, n = [], n_in
        for i in range(repeat):
            if separable:
                layers += [Masked(n, n, width, stride=stride, dilation=dilation, padding=dilation * (width - 1) // 2, groups=n)]
            layers += [Masked(n, n_out, 1 if separable else width), nn.BatchNorm1d(n_out, eps=1e-3)]
            if i + 1 < repeat:
                layers += [nn.ReLU(), nn.Dropout()]
            n = n_out
        self.mconv = nn.ModuleList(layers)
        self.res = nn.ModuleList([nn.ModuleList([Masked(n_in, n_out, 1), nn.BatchNorm1d(n_out, eps=1e-3)])] if residual else [])

    def forward(self, x):
        y = x
        for layer in self.mconv:
            y = layer(y)
        for conv, norm in self.res:
            y = y + norm(conv(x))
        return y.relu()


class QuartzNet(nn.Module):
    def __init__(self, n1, n2, n3):
        super().__init__()
        blocks = [Block(64, n1, 33, 1, False, stride=2)]
        n = n1
        for n_out, width in zip((n1, n1, n2, n2, n2), (33, 39, 51, 63, 75)):
            for _ in range(3):
                blocks.append(Block(n, n_out, width))
                n = n_out
        blocks += [Block(n2, n2, 87, 1, False, dilation=2), Block(n2, n3, 1, 1, False, separable=False)]
        self.encoder = nn.Module()
        self.encoder.encoder = nn.Sequential(*blocks)
        self.decoder = nn.Module()
        self.decoder.decoder_layers = nn.Sequential(nn.Conv1d(n3, 29, 1))

    def forward(self, mel):
        return self.decoder.decoder_layers(self.encoder.encoder(mel)).transpose(1, 2).log_softmax(-1)


reference.write("quartznet_15x5", QuartzNet(16, 24, 32), {"mel": [1, 64, 90]}, ["log_probabilities"],
                [["256", "16"], ["512", "24"], ["1024", "32"]])
