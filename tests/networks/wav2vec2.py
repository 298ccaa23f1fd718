#!/usr/bin/env python3
"""wav2vec 2.0 up to its transformer: see examples/networks/wav2vec2.yaml. Run with a Python that has PyTorch (1.13)."""

from torch import nn
from torch.nn import functional as F
from torch.nn.utils import weight_norm

import reference


class Wav2Vec2(nn.Module):
    def __init__(self, n=32, hidden=48):
        super().__init__()
        self.feature_extractor, self.feature_projection, self.encoder = nn.Module(), nn.Module(), nn.Module()
        layers = []
        for i, (width, stride) in enumerate(zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))):
            layer = nn.Module()
            layer.conv = nn.Conv1d(n if i else 1, n, width, stride, bias=False)
            layers.append(layer)
        layers[0].layer_norm = nn.GroupNorm(n, n)
        self.feature_extractor.conv_layers = nn.ModuleList(layers)
        self.feature_projection.layer_norm = nn.LayerNorm(n)
        self.feature_projection.projection = nn.Linear(n, hidden)
        self.encoder.pos_conv_embed = nn.Module()
        self.encoder.pos_conv_embed.conv = weight_norm(nn.Conv1d(hidden, hidden, 128, padding=64, groups=16), dim=2)
        self.encoder.layer_norm = nn.LayerNorm(hidden)

    def forward(self, x):
        for layer in self.feature_extractor.conv_layers:
            x = layer.conv(x)
            if hasattr(layer, "layer_norm"):
                x = layer.layer_norm(x)
            x = F.gelu(x)
        features = x.transpose(1, 2)
        x = self.feature_projection.projection(self.feature_projection.layer_norm(features))
        position = F.gelu(self.encoder.pos_conv_embed.conv(x.transpose(1, 2))[:, :, :-1])
        return features, self.encoder.layer_norm(x + position.transpose(1, 2)).transpose(1, 2)


reference.write("wav2vec2", Wav2Vec2(), {"audio": [1, 1, 3300]}, ["features", "embeddings"], [["512", "32"], ["768", "48"]])
