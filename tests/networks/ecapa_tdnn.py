#!/usr/bin/env python3
"""ECAPA-TDNN: see examples/networks/ecapa_tdnn.yaml. Run with a Python that has PyTorch (1.13)."""

import torch
from torch import nn

import reference


class Named(nn.Module):
    """One module under a further name, as the reference has them."""

    def __init__(self, name, module):
        super().__init__()
        self.add_module(name, module)
        self.only = [module]

    def forward(self, x):
        return self.only[0](x)


def conv(n_in, n_out, width=1, dilation=1):
    return Named("conv", nn.Conv1d(n_in, n_out, width, dilation=dilation, padding=dilation * (width - 1) // 2, padding_mode="reflect"))


class Tdnn(nn.Module):
    def __init__(self, *args):
        super().__init__()
        self.conv, self.norm = conv(*args), Named("norm", nn.BatchNorm1d(args[1]))

    def forward(self, x):
        return self.norm(self.conv(x).relu())


class Unit(nn.Module):
    def __init__(self, n, squeezed, dilation):
        super().__init__()
        self.tdnn1, self.tdnn2 = Tdnn(n, n), Tdnn(n, n)
        self.res2net_block, self.se_block = nn.Module(), nn.Module()
        self.res2net_block.blocks = nn.ModuleList([Tdnn(n // 8, n // 8, 3, dilation) for _ in range(7)])
        self.se_block.conv1, self.se_block.conv2 = conv(n, squeezed), conv(squeezed, n)

    def forward(self, x):
        parts = list(self.tdnn1(x).chunk(8, 1))
        for i, block in enumerate(self.res2net_block.blocks, 1):
            parts[i] = block(parts[i] if i == 1 else parts[i] + parts[i - 1])
        y = self.tdnn2(torch.cat(parts, 1))
        scale = self.se_block.conv2(self.se_block.conv1(y.mean(2, keepdim=True)).relu()).sigmoid()
        return x + scale * y


def statistics(x, weights):
    mean = (weights * x).sum(2, keepdim=True)
    return mean, (weights * (x - mean).square()).sum(2, keepdim=True).clamp(min=1e-12).sqrt()


class Ecapa(nn.Module):
    def __init__(self, n, narrow, embedding):
        super().__init__()
        self.blocks = nn.ModuleList([Tdnn(80, n, 5)] + [Unit(n, narrow, d) for d in (2, 3, 4)])
        self.mfa = Tdnn(3 * n, 3 * n)
        self.asp = nn.Module()
        self.asp.tdnn, self.asp.conv = Tdnn(9 * n, narrow), conv(narrow, 3 * n)
        self.asp_bn = Named("norm", nn.BatchNorm1d(6 * n))
        self.fc = conv(6 * n, embedding)

    def forward(self, x):
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        x = self.mfa(torch.cat(outputs[1:], 1))
        mean, deviation = statistics(x, torch.full_like(x, 1 / x.shape[2]))
        context = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], 1)
        attention = self.asp.conv(self.asp.tdnn(context).tanh()).softmax(2)
        return self.fc(self.asp_bn(torch.cat(statistics(x, attention), 1)))


reference.write("ecapa_tdnn", Ecapa(16, 8, 12), {"mel": [2, 80, 30]}, ["embedding"],
                [["1024", "16"], ["3072", "48"], ["9216", "144"], ["6144", "96"], ["128", "8"], ["192", "12"]])
