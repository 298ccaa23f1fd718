#!/usr/bin/env python3
"""DAC's encoder and decoder: see examples/networks/dac_44khz.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn
from torch.nn.utils import weight_norm

import reference


class Snake1d(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, n, 1))

    def forward(self, x):
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)


def conv(*args, **fields):
    return weight_norm(nn.Conv1d(*args, **fields))


class Residual(nn.Module):
    def __init__(self, n, dilation):
        super().__init__()
        self.block = nn.Sequential(Snake1d(n), conv(n, n, 7, dilation=dilation, padding=3 * dilation), Snake1d(n), conv(n, n, 1))

    def forward(self, x):
        return x + self.block(x)


class Block(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return self.block(x)


def residuals(n):
    return [Residual(n, dilation) for dilation in (1, 3, 9)]


class Dac(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        encoder, decoder = [conv(1, n, 7, padding=3)], [Snake1d(m), conv(m, 1, 7, padding=3), nn.Tanh()]
        for stride in (2, 4, 8, 8):
            encoder.append(Block(*residuals(n), Snake1d(n), conv(n, 2 * n, 2 * stride, stride, padding=stride // 2)))
            n *= 2
        for stride in (2, 4, 8, 8):
            up = weight_norm(nn.ConvTranspose1d(2 * m, m, 2 * stride, stride, padding=stride // 2))
            decoder.insert(0, Block(Snake1d(2 * m), up, *residuals(m)))
            m *= 2
        self.encoder, self.decoder = Block(*encoder, Snake1d(n), conv(n, n, 3, padding=1)), nn.Module()
        self.decoder.model = nn.Sequential(conv(n, m, 7, padding=3), *decoder)

    def forward(self, x):
        latent = self.encoder(x)
        return latent, self.decoder.model(latent)


reference.write("dac_44khz", Dac(2, 2), {"audio": [1, 1, 1536]}, ["latent", "audio"],
                [["channels: 64}", "channels: 2}"], ["channels: 96, latent: 1024", "channels: 2, latent: 32"]], gain=0.5)
