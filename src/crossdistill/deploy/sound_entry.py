"""Sounds and series of sensors as samples, in any length: cutting, filling and spectrograms are in the graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from crossdistill.deploy.entry import Axis, Entry
from crossdistill.modalities import audio as sound
from crossdistill.modalities import timeseries as series
from crossdistill.modalities.audio import Audio
from crossdistill.modalities.timeseries import TimeSeries


def fitted(samples: Tensor, length: int, longer: str, shorter: str, filling: Tensor) -> Tensor:
    """``(B, C, N)`` of any N to ``(B, C, length)``: a part of what is longer, with something around what is shorter.

    Places are computed from N instead of branching on it, so that one graph takes any length.

    Args:
        samples: see above.
        length: wanted.
        longer: ``middle`` or ``start``.
        shorter: ``pad`` or ``repeat``.
        filling: what ``pad`` fills with, ``(B, C, 1)``.
    """
    count = torch.scalar_tensor(samples.shape[-1], dtype=torch.float64)
    spare = count - length
    cut = torch.floor(spare / 2) if longer == "middle" else torch.zeros_like(spare)
    before = torch.zeros_like(spare) if shorter == "repeat" else torch.floor(-spare / 2)
    place = torch.arange(length, dtype=torch.float64) + torch.where(spare > 0, cut, -before)
    if shorter == "repeat":
        return samples[:, :, (place - count * torch.floor(place / count)).long()]
    inside = (place >= 0) & (place < count)
    kept = samples[:, :, torch.minimum(place.clamp(min=0), count - 1).long()]
    return torch.where(inside, kept, filling)


class Spectrum(torch.nn.Module):
    """Short-time Fourier transform with a Hann window, reflected at the ends, as a convolution with sines and cosines.

    Args:
        window: samples of a frame.
        hop: samples between frames.
        bins: how many, from the lowest on.
    """

    basis: Tensor

    def __init__(self, window: int, hop: int, bins: int) -> None:
        super().__init__()
        self.window, self.hop, self.bins = window, hop, bins
        hann = torch.hann_window(window, dtype=torch.float64)
        turns = torch.arange(bins, dtype=torch.float64)[:, None] * torch.arange(window, dtype=torch.float64) / window
        angle = 2 * math.pi * (turns - torch.floor(turns))
        waves = torch.cat([torch.cos(angle), -torch.sin(angle)]) * hann
        self.register_buffer("basis", waves.float()[:, None], persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """``(B, N)`` to power ``(B, bins, 1 + N // hop)``."""
        reflected = F.pad(samples[:, None], (self.window // 2, self.window // 2), mode="reflect")
        found = F.conv1d(reflected, self.basis, stride=self.hop)
        return found[:, : self.bins].square() + found[:, self.bins :].square()


class SoundEntry(Entry):
    """Mono sound ``(B, samples)`` of any length at the setting's rate, to log-mel spectrograms."""

    filters: Tensor

    def __init__(self, modality: Audio) -> None:
        super().__init__(modality)
        mel = modality.mel
        self.samples, self.longer, self.shorter = modality.samples, modality.longer, modality.shorter
        self.input_name = "samples"
        self.axes = (Axis("length", None, modality.samples + 37),)
        self.meaning = f"sound in mono within -1..1, {mel.rate} samples a second"
        self.spectrum = Spectrum(mel.window, mel.hop, mel.window // 2 + 1)
        self.register_buffer("filters", sound.mel_filters(mel), persistent=False)
        self.inside = (
            f"bringing to {modality.seconds:g} seconds: the {self.longer} of what is longer; what is shorter is "
            + ("repeated" if self.shorter == "repeat" else "filled with silence on both sides"),
            f"spectrogram with a Hann window of {mel.window} samples every {mel.hop}, reflected at the ends",
            f"power in {mel.mels} mel bands (Slaney) from {mel.low:g} to {mel.high:g} Hz, in decibels below the "
            "loudest cell, 80 dB as 0..1",
            "minus the mean, over the deviation",
        )
        self.outside = (
            "decoding of the file, mean of its channels",
            f"resampling to {mel.rate} Hz (crossdistill: scipy.signal.resample_poly)",
        )

    def forward(self, items: Tensor) -> Tensor:
        """Spectrograms ``(B, 1, mels, frames)`` in 0..1."""
        clip = fitted(items[:, None], self.samples, self.longer, self.shorter, torch.zeros(1, 1, 1))[:, 0]
        power = self.filters @ self.spectrum(clip)
        loudest = power.amax(dim=(1, 2), keepdim=True)
        heard = loudest > sound.SILENCE
        level = (power / torch.where(heard, loudest, torch.ones_like(loudest))).clamp(min=10 ** (-sound.DECIBELS / 10))
        scaled = (1 + 10 * torch.log10(level) / sound.DECIBELS).clamp(0, 1)
        return torch.where(heard, scaled, torch.zeros_like(scaled)).half().float()[:, None]


class SeriesEntry(Entry):
    """Samples ``(B, length, channels)`` in the unit of the files, of any length, to scaled samples or spectrograms."""

    def __init__(self, modality: TimeSeries) -> None:
        super().__init__(modality)
        self.samples, self.longer, self.shorter = modality.samples, modality.longer, modality.shorter
        count = len(modality.channels)
        self.input_name = "samples"
        self.axes = (Axis("length", None, modality.samples + 5), Axis("channels", count))
        names = ", ".join(map(str, modality.channels))
        self.meaning = f"samples of the channels {names}, in the unit of the files, without gaps"
        self.low, self.high = modality.low, modality.high
        window, hop = modality.transform
        raw = modality.representation == "raw"
        self.spectrum = None if raw else Spectrum(window, hop, window // 2)
        self.swing = 2.0 / float(torch.hann_window(window).sum())
        scale = (
            "mean and deviation of its own" if modality.scale == "per_item" else f"{modality.low} to {modality.high}"
        )
        self.inside = (
            f"bringing to {self.samples} samples",
            f"scaling of each channel by {scale}",
            *(() if raw else (f"spectrograms with a Hann window of {window} samples every {hop}, 60 dB as 0..1",)),
            "minus the mean, over the deviation",
        )
        self.outside = (
            f"reading the channels {names} from the file, time first",
            "interpolation of missing samples"
            + (f", and onto a grid of {modality.rate:g} samples a second" if modality.time is not None else ""),
        )

    def forward(self, items: Tensor) -> Tensor:
        """``(B, channels, 1, samples)``, or spectrograms ``(B, channels, window // 2, frames)`` in 0..1."""
        every = items.transpose(1, 2)
        own = self._own(items.shape[1])
        count = own.sum()
        mean = (every * own).sum(dim=2, keepdim=True) / count
        full = fitted(every, self.samples, self.longer, self.shorter, mean)
        if self.low is None or self.high is None:
            spread = (((every - mean) * own).square().sum(dim=2, keepdim=True) / count).sqrt()
            scaled = (full - mean) / torch.where(spread > 0, spread, torch.ones_like(spread))
        else:
            low, high = (torch.tensor(each).view(-1, 1) for each in (self.low, self.high))
            scaled = ((2 * full - high - low) / (high - low)).clamp(-1, 1)
        if self.spectrum is None:
            return scaled[:, :, None].half().float()
        power = torch.unflatten(self.spectrum(scaled.flatten(0, 1)), 0, (-1, items.shape[2]))
        halves = torch.ones(power.shape[2], 1)
        halves[0] = 0.5  # the mean has no second half at negative frequencies
        amplitude = power.sqrt() * self.swing * halves
        loudest = torch.ones(()) if self.low is not None else amplitude.amax(dim=(1, 2, 3), keepdim=True)
        level = (amplitude / loudest.clamp(min=1e-9)).clamp(min=1e-6)
        return (1 + 20 / series.DECIBELS * torch.log10(level)).clamp(0, 1).half().float()

    def _own(self, length: int) -> Tensor:
        """1 for the samples that are kept, of which mean and deviation are taken, else 0, ``(length,)``."""
        spare = torch.scalar_tensor(length, dtype=torch.float64) - self.samples
        first = torch.floor(spare.clamp(min=0) / 2) if self.longer == "middle" else torch.zeros_like(spare)
        place = torch.arange(length, dtype=torch.float64)
        return ((place >= first) & (place < first + self.samples)).float()
