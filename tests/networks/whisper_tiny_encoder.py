#!/usr/bin/env python3
"""Whisper's encoder: see examples/networks/whisper_tiny_encoder.yaml. Run with a Python that has PyTorch (1.13)."""

import math

import torch
from torch import nn
from torch.nn import functional as F

import reference


class Attention(nn.Module):
    def __init__(self, n, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(n, n), nn.Linear(n, n, bias=False), nn.Linear(n, n)
        self.out = nn.Linear(n, n)

    def forward(self, x):
        q, k, v = (layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), dim=3)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, n, heads):
        super().__init__()
        self.attn, self.attn_ln, self.mlp_ln = Attention(n, heads), nn.LayerNorm(n), nn.LayerNorm(n)
        self.mlp = nn.Sequential(nn.Linear(n, 4 * n), nn.GELU(), nn.Linear(4 * n, n))

    def forward(self, x):
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    def __init__(self, positions, n, heads, depth):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(80, n, 3, padding=1), nn.Conv1d(n, n, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.zeros(positions, n))
        self.blocks = nn.ModuleList(Block(n, heads) for _ in range(depth))
        self.ln_post = nn.LayerNorm(n)

    def forward(self, mel):
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positional_embedding
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class Whisper(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.encoder = Encoder(*sizes)

    def forward(self, mel):
        return self.encoder(mel)


reference.write("whisper_tiny_encoder", Whisper(25, 48, 6, 4), {"mel": [1, 80, 50]}, ["encoder"],
                [["positions: 1500, state: 384", "positions: 25, state: 48"]])
