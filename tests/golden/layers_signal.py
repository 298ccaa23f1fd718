#!/usr/bin/env python3
"""Writes layers_signal.safetensors: resampling and shape layers as PyTorch computes them in float64.

Run with a Python that has PyTorch (made with 1.13): layers_signal.py
"""

import torch
import torch.nn.functional as F

import golden

torch.manual_seed(21)


def values(*shape):
    return torch.randn(shape).float().double()


def transposed_convolutions():
    """ConvTranspose1d; a list of paddings crops the full output's ends."""
    for fields in (
        {"kernel_size": 16, "stride": 8, "padding": 4},
        {"kernel_size": 4, "stride": 2, "padding": [0, 2]},
        {"kernel_size": 5, "stride": 3, "output_padding": 2, "bias": False},
        {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 4},
        {"kernel_size": 3, "stride": 4, "padding": 3, "output_padding": 3, "dilation": 6},
        {"kernel_size": 2, "stride": 5, "output_padding": 1},
        {"kernel_size": 12, "stride": 2, "padding": 5, "groups": 6, "bias": False},
        {"kernel_size": 6, "stride": 3, "padding": 1, "groups": 2},
        {"kernel_size": 1, "stride": 1},
    ):
        module_fields = {"in_channels": 6, "out_channels": 18, **fields}
        crop = fields.get("padding", 0)
        if isinstance(crop, list):
            module_fields["padding"] = 0
        module = torch.nn.ConvTranspose1d(**module_fields).float().double()
        for parameter in module.parameters():
            parameter.data = values(*parameter.shape)
        x = values(2, 6, 9)
        with torch.no_grad():
            y = module(x)
        if isinstance(crop, list):
            y = y[..., crop[0]:y.shape[-1] - crop[1]]
        yield "ConvTranspose1d", {"in_channels": 6, "out_channels": 18, **fields}, [x], [y], module.state_dict()


def upsampled():
    # Few and small enough that PyTorch's rounded positions are as good as exact ones.
    x = values(2, 2, 5)
    for factor in (2, 4, 1.5, 2.6, 0.5):
        for mode in ("nearest", "linear"):
            fields = {"scale_factor": factor, "mode": mode}
            yield "Upsample", fields, [x], [torch.nn.Upsample(**fields)(x)], {}
    for size in (1, 4, 10, 13):
        yield "Upsample", {"size": size}, [x], [torch.nn.Upsample(size)(x)], {}
        for align in (None, False, True):
            fields = {"size": size, "mode": "linear", "align_corners": align}
            yield "Upsample", fields, [x], [torch.nn.Upsample(**fields)(x)], {}
    fields = {"scale_factor": 3, "mode": "linear", "align_corners": True}
    yield "Upsample", fields, [x], [torch.nn.Upsample(**fields)(x)], {}


def rearranged():
    x = values(2, 6, 5)
    yield "Crop", {"left": 1, "right": 2}, [x], [x[..., 1:-2]], {}
    for sizes, dim in (([1, 3, 2], 1), ([4, 1], -1)):
        yield "Split", {"sizes": sizes, "dim": dim}, [x], torch.split(x, sizes, dim), {}
    for chunks, dim in ((2, 1), (3, 2), (6, 1)):
        yield "Chunk", {"chunks": chunks, "dim": dim}, [x], torch.chunk(x, chunks, dim), {}
    for dims in ((0, 2, 1), (2, 0, 1), (1, 0, 2), (2, 1, 0), (0, -2, -1)):
        yield "Permute", {"dims": dims}, [x], [x.permute(dims)], {}
    x = values(2, 3, 2, 4)
    yield "Permute", {"dims": (3, 1, 0, 2)}, [x], [x.permute(3, 1, 0, 2)], {}
    # Of 2-D images of height 1: width is time, and only it grows.
    x = values(2, 6, 5)
    y = x.view(2, 2, 3, 5).transpose(2, 3).reshape(2, 2, 15)
    yield "PixelShuffle1d", {"upscale_factor": 3}, [x], [y], {}
    yield "PixelUnshuffle1d", {"downscale_factor": 3}, [y], [x], {}


def reduced():
    x = values(3, 4, 21)
    for dim in (0, 1, 2, -1):
        for keepdim in (False, True):
            fields = {"dim": dim, "keepdim": keepdim}
            yield "Mean", fields, [x], [x.mean(**fields)], {}
            yield "Sum", fields, [x], [x.sum(**fields)], {}
            yield "Max", fields, [x], [x.amax(**fields)], {}


def deviations():
    x = (3 + values(3, 4, 21)).float().double()
    for dim in (0, 1, 2, -1):
        for unbiased in (False, True):
            fields = {"dim": dim, "keepdim": dim == 1}
            yield "Std", {**fields, "correction": int(unbiased)}, [x], [x.std(unbiased=unbiased, **fields)], {}


WINDOWS = {"ones": torch.ones, "hann": torch.hann_window, "hamming": torch.hamming_window,
           "blackman": torch.blackman_window}


def transforms():
    x = values(2, 80)
    for fields in (
        {"n_fft": 16},
        {"n_fft": 16, "hop_length": 4, "window": "hann"},
        {"n_fft": 15, "hop_length": 6, "window": "hamming", "center": False},
        {"n_fft": 16, "hop_length": 5, "win_length": 11, "window": "blackman", "normalized": True},
        {"n_fft": 16, "hop_length": 4, "window": "hann", "pad_mode": "constant"},
        {"n_fft": 16, "hop_length": 4, "window": "hann", "pad_mode": "replicate"},
    ):
        window = WINDOWS[fields.get("window", "ones")](fields.get("win_length", fields["n_fft"]), dtype=torch.float64)
        options = {"return_complex": True, **fields, "window": window}
        y = torch.stft(x, **options)
        spectrum = torch.cat([y.real, y.imag], 1)
        yield "STFT", fields, [x[:, None]], [spectrum], {}
        if not fields.get("center", True) or "pad_mode" in fields:
            continue
        # Not the spectrum of a signal: what the edge bins' imaginary parts do shows too.
        bins = fields["n_fft"] // 2 + 1
        spectrum = values(2, 2 * bins, 9)
        options = {**fields, "window": window}
        signal = torch.istft(torch.complex(spectrum[:, :bins], spectrum[:, bins:]), **options)
        yield "ISTFT", fields, [spectrum], [signal[:, None]], {}
    yield vocos(16, 4, values(2, 18, 9))
    yield vocos(20, 5, values(1, 22, 6))


def vocos(n_fft, hop, spectrum):
    """The inverse that Vocos calls same: overlapped frames over the windows' envelope, (n_fft - hop) / 2 cut off."""
    bins = n_fft // 2 + 1
    window = torch.hann_window(n_fft, dtype=torch.float64)
    frames = torch.fft.irfft(torch.complex(spectrum[:, :bins], spectrum[:, bins:]), n_fft, dim=1) * window[:, None]
    length = hop * (spectrum.shape[2] - 1) + n_fft
    cut = (n_fft - hop) // 2

    def fold(columns):
        return F.fold(columns, (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0, cut:length - cut]

    envelope = fold((window ** 2)[None, :, None].expand(1, n_fft, spectrum.shape[2]))
    fields = {"n_fft": n_fft, "hop_length": hop, "window": "hann", "padding": "same"}
    return "ISTFT", fields, [spectrum], [(fold(frames) / envelope)[:, None]], {}


def resampled():
    """BigVGAN's UpSample1d and DownSample1d, whose filter is a weight; any one will do here."""
    x = values(2, 3, 11)
    for ratio, taps in ((2, 12), (2, 13), (3, 12), (4, 9)):
        filter = values(1, 1, taps)
        every = filter.expand(3, -1, -1)
        fields = {"ratio": ratio, "kernel_size": taps}
        pad = taps // ratio - 1
        left, right = pad * ratio + (taps - ratio) // 2, pad * ratio + (taps - ratio + 1) // 2
        padded = F.pad(x, (pad, pad), mode="replicate")
        y = ratio * F.conv_transpose1d(padded, every, stride=ratio, groups=3)
        yield "LowPassUpsample", fields, [x], [y[..., left:-right]], {"filter": filter}
        padded = F.pad(x, (taps // 2 - (taps + 1) % 2, taps // 2), mode="replicate")
        yield "LowPassDownsample", fields, [x], [F.conv1d(padded, every, stride=ratio, groups=3)], {"filter": filter}


def sinc_resampled():
    """denoiser's upsample2 and downsample2 with fewer zeros: samples between the others are sums under a windowed sinc."""
    zeros = 6
    x = values(2, 3, 22)
    times = torch.arange(2 * zeros, dtype=torch.float64) + 0.5 - zeros
    window = torch.hann_window(4 * zeros + 1, periodic=False, dtype=torch.float64)[1::2]
    kernel = (torch.sinc(times) * window).expand(3, 1, -1)
    fields = {"ratio": 2, "kernel_size": 4 * zeros, "filter": "sinc", "padding_mode": "zeros"}
    between = F.conv1d(x, kernel, padding=zeros, groups=3)
    yield "LowPassUpsample", fields, [x], [torch.stack([x, between[..., 1:]], -1).flatten(-2)], {}
    between = F.conv1d(x[..., 1::2], kernel, padding=zeros, groups=3)
    yield "LowPassDownsample", fields, [x], [(x[..., ::2] + between[..., :-1]) / 2], {}


def main():
    golden.write("layers_signal.safetensors",
                 [*transposed_convolutions(), *upsampled(), *rearranged(), *reduced(), *transforms(), *resampled(), *deviations(), *sinc_resampled()])


if __name__ == "__main__":
    main()
