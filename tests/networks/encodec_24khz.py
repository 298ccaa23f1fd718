#!/usr/bin/env python3
"""EnCodec's encoder and decoder: see examples/networks/encodec_24khz.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn
from torch.nn.utils import weight_norm

import reference


class Holder(nn.Module):
    """A convolution under two names, as the reference has it, padded in front by reflection or cut at its end."""

    def __init__(self, name, conv):
        super().__init__()
        inner = nn.Module()
        inner.add_module(name, weight_norm(conv))
        self.add_module(name, inner)
        self.conv_ = [getattr(inner, name)]

    def forward(self, x):
        conv = self.conv_[0]
        if isinstance(conv, nn.ConvTranspose1d):
            return conv(x)[:, :, :-conv.stride[0]]
        left = conv.kernel_size[0] - conv.stride[0]
        return conv(nn.functional.pad(x, (left, 0), "reflect"))


def conv(*args):
    return Holder("conv", nn.Conv1d(*args))


class Residual(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.block = nn.Sequential(nn.ELU(), conv(n, n // 2, 3), nn.ELU(), conv(n // 2, n, 1))
        self.shortcut = conv(n, n, 1)

    def forward(self, x):
        return self.shortcut(x) + self.block(x)


class Lstm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.lstm = nn.LSTM(n, n, 2)

    def forward(self, x):
        x = x.permute(2, 0, 1)
        return (self.lstm(x)[0] + x).permute(1, 2, 0)


class Encodec(nn.Module):
    def __init__(self, n, latent):
        super().__init__()
        encoder, decoder = [conv(1, n, 7)], []
        for stride in (2, 4, 5, 8):
            encoder += [Residual(n), nn.ELU(), conv(n, 2 * n, 2 * stride, stride)]
            decoder = [nn.ELU(), Holder("convtr", nn.ConvTranspose1d(2 * n, n, 2 * stride, stride)), Residual(n)] + decoder
            n *= 2
        encoder += [Lstm(n), nn.ELU(), conv(n, latent, 7)]
        decoder = [conv(latent, n, 7), Lstm(n)] + decoder + [nn.ELU(), conv(n // 16, 1, 7)]
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.model, self.decoder.model = nn.Sequential(*encoder), nn.Sequential(*decoder)

    def forward(self, x):
        latent = self.encoder.model(x)
        return latent, self.decoder.model(latent)


reference.write("encodec_24khz", Encodec(2, 8), {"audio": [1, 1, 2560]}, ["latent", "audio"], [["channels: 32, latent: 128", "channels: 2, latent: 8"]])
