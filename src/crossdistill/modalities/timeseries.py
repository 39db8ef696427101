"""The timeseries modality: what sensors record over time, such as accelerations or heartbeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor

from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.modalities.base import InputDefaults, Modality, channel_statistics, standardised
from crossdistill.modalities.curves import draw_curves
from crossdistill.modalities.raster import colours
from crossdistill.modalities.series_augment import TimeSeriesAugment, augment_series
from crossdistill.modalities.series_file import Column, array_columns, read_columns
from crossdistill.modalities.series_window import cut, on_a_grid, pad, without_gaps

DECIBELS = 60.0  # below the loudest, where a spectrogram's scale ends
_OUTSIDE = 0.9  # share of a channel's samples out of range, from which on the unit must be wrong
_UNUSED = 1e-4  # share of the range that all samples lie in, below which it must be wrong as well


class TimeSeries(Modality):
    """CSV and NPY files of samples, as ``(channels, window // 2, frames)`` or ``(channels, 1, length)`` in float16.

    ``representation``: ``spectrogram`` stacks the channels' short-time Fourier transforms (a Hann window of ``window``
    samples every ``hop``, reflected at the ends, without the highest bin), amplitudes in decibels as 0..1: 1 is the
    loudest cell of an item, or with ``scale: fixed`` a swing from ``low`` to ``high``, and 0 is 60 dB below. ``raw``
    are the scaled samples, for modules of your own.

    ``scale``: ``per_item`` takes each channel minus its mean over its deviation, ``fixed`` maps ``low`` to ``high`` to
    -1..1 and cuts off what is beyond.
    """

    modality: Literal["timeseries"] = "timeseries"
    channels: tuple[Column, ...] = Field(min_length=1, max_length=512, description="names, or numbers from 0, in order")
    stored_columns: int | None = Field(None, ge=1, description="how many a file has to hold; checked where given")
    layout: Literal["time_first", "channels_first"] = Field("time_first", description="of arrays")
    rate: float | None = Field(None, gt=0, description="samples a second")
    time: Column | None = Field(None, description="column of the times, which are then checked against rate")
    seconds_per_unit: float = Field(1.0, gt=0, description="of these times")
    length: int | None = Field(None, ge=1, description="samples that every series is brought to")
    seconds: float | None = Field(None, gt=0, description="the same in seconds, with rate")
    longer: Literal["middle", "start"] = Field("middle", description="which part of a longer series is kept")
    shorter: Literal["pad", "repeat"] = Field("pad", description="around a shorter one its means, or behind it itself")
    missing: float = Field(0.1, ge=0, lt=1, description="largest share of a channel that may be missing")
    constant: Literal["refuse", "keep"] = Field("refuse", description="what a channel that never changes is")
    scale: Literal["per_item", "fixed"] = Field(
        "per_item", description="each channel by its own mean and deviation, or low to high as -1 to 1"
    )
    low: tuple[float, ...] | float | None = Field(None, description="for all channels or for each, with scale: fixed")
    high: tuple[float, ...] | float | None = Field(None, description="likewise")
    unit: str = Field("", max_length=12, description="of all channels, for pictures")
    representation: Literal["spectrogram", "raw"] = Field(
        "spectrogram", description="what the encoder sees: a picture of frequencies, or the scaled samples"
    )
    window: int | None = Field(
        None, ge=8, multiple_of=2, description="samples; default: a quarter of the length as a power of two, 16 to 256"
    )
    hop: int | None = Field(None, ge=1, description="samples; default: a quarter of the window")
    mean: tuple[float, ...] | None = Field(None, description="of the decoded values; default: the encoder's own")
    std: tuple[float, ...] | None = Field(None, description="likewise")
    augment_with: TimeSeriesAugment = Field(default_factory=TimeSeriesAugment, alias="augment")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.length is None) == (self.seconds is None):
            raise ValueError("give one of length (samples) and seconds")
        if self.rate is None and (self.seconds is not None or self.time is not None):
            raise ValueError("seconds and time need rate")
        if not 8 <= self.samples <= 1 << 20:
            raise ValueError(f"a series of {self.samples:,} samples; from 8 to {1 << 20:,} are possible")
        if [self.low is not None, self.high is not None] != [self.scale == "fixed"] * 2:
            raise ValueError("low and high belong to scale: fixed, both of them")
        for name in ("low", "high", "mean", "std"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != len(self.channels):
                raise ValueError(f"{name} has {len(value)} values where there are {len(self.channels)} channels")
        if self.scale == "fixed" and (np.asarray(self.high) <= np.asarray(self.low)).any():
            raise ValueError("high must be above low in every channel")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be positive")
        if self.representation == "spectrogram" and self.samples < self.transform[0]:
            raise ValueError(f"a window of {self.transform[0]} samples is longer than the series ({self.samples})")
        return self

    @property
    def samples(self) -> int:
        """Of a series."""
        return self.length if self.length is not None else max(1, round((self.seconds or 0) * (self.rate or 0)))

    @property
    def transform(self) -> tuple[int, int]:
        """Window and hop of a spectrogram, in samples."""
        window = self.window or min(256, max(16, 1 << (self.samples // 4).bit_length() - 1))
        return window, self.hop or max(1, window // 4)

    @property
    def shape(self) -> tuple[int, ...]:
        if self.representation == "raw":
            return (len(self.channels), 1, self.samples)
        window, hop = self.transform
        return (len(self.channels), window // 2, 1 + self.samples // hop)

    def resolve(self, defaults: InputDefaults) -> Self:
        mean, std = defaults.statistics(len(self.channels))
        window, hop = self.transform if self.representation == "spectrogram" else (self.window, self.hop)
        update = {"mean": self.mean or mean, "std": self.std or std, "window": window, "hop": hop}
        return self.model_copy(update=update)

    def as_defaults(self) -> InputDefaults:
        if self.mean is None or self.std is None:
            raise ValueError("mean or std is still open: resolve the modality with an encoder first")
        return InputDefaults(size=self.shape[-1], mean=self.mean, std=self.std, interpolation="bilinear")

    @property
    def decoding(self) -> str:
        return self.model_dump_json(exclude={"mean", "std", "augment_with"})

    def decode(self, item: Item) -> Tensor:
        series = self._window(self._read(item), item)
        try:
            return self._represented(self._scaled(series))
        except PairsError as error:
            raise error.at(item) from error

    def read(self, item: Item) -> NDArray[np.float32]:
        """At most ``samples`` samples of the channels in their unit, on the grid and without gaps, ``(n, C)``."""
        return self._window(self._read(item), item).astype(np.float32)

    def from_array(self, array: Any) -> Tensor:
        """Samples ``(time, channels)``, in the ``layout``."""
        stored = array_columns(np.asarray(array), self._columns, self.stored_columns, self._channels_first)
        return self._represented(self._scaled(self._window(stored)))

    def augment(self, batch: Tensor, placement: Tensor | None = None) -> Tensor:
        decibels = DECIBELS if self.representation == "spectrogram" else None
        return augment_series(batch, self.augment_with, decibels)

    def contrastive(self) -> Self:
        strong = TimeSeriesAugment(shift=0.5, gain=0.3, noise=0.05, channel_dropout=0.2, time_masks=2, time_width=0.25)
        chosen = self.augment_with if "augment_with" in self.model_fields_set else strong
        return self.model_copy(update={"augment_with": chosen})

    def normalise(self, batch: Tensor) -> Tensor:
        return standardised(batch.float(), self.mean, self.std)

    def with_statistics(self, items: Tensor) -> Self:
        mean, std = channel_statistics(items)
        return self.model_copy(update={"mean": self.mean or mean, "std": self.std or std})

    def picture(self, item: Item, side: int) -> Pillow.Image:
        """The curves in their unit on one axis; where no unit is said, as they are scaled."""
        series = self._window(self._read(item), item)
        return draw_curves(series.T if self.unit else self._scaled(series), side, self.unit or self._scale_unit)

    def draw(self, values: Tensor, side: int) -> Pillow.Image:
        """Spectrograms below each other, low frequencies at the bottom of each; or the scaled curves."""
        if self.representation == "raw":
            return draw_curves(values[:, 0].float().cpu().numpy(), side, self._scale_unit)
        cells = values.float().clamp(0, 1).flip(1).flatten(0, 1).cpu().numpy()
        return Pillow.fromarray(colours(cells)).resize((side, side), Pillow.Resampling.BILINEAR)

    @classmethod
    def fake_settings(cls) -> dict[str, Any]:
        return {"channels": ["x", "y"], "length": 64}

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """``2 * label + 2`` swings in two channels, with an overtone when ``rich``. Always a CSV file."""
        rng = np.random.default_rng(label * 1000 + variant)
        time = np.arange(64) / 64
        angle = 2 * np.pi * ((2 * label + 2) * time[:, None] + rng.uniform() + np.array([0, 0.25]))
        values = np.sin(angle) + (0.5 * np.sin(3 * angle) if rich else 0) + 0.05 * rng.normal(size=(64, 2))
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ["time,x,y", *(f"{at:.6f},{x:.5f},{y:.5f}" for at, (x, y) in zip(time, values, strict=True))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def _columns(self) -> tuple[Column, ...]:
        return self.channels if self.time is None else (self.time, *self.channels)

    @property
    def _channels_first(self) -> bool:
        return self.layout == "channels_first"

    @property
    def _scale_unit(self) -> str:
        return "sd" if self.scale == "per_item" else "of the range"

    def _read(self, item: Item) -> NDArray[np.float64]:
        return read_columns(item, self._columns, self.stored_columns, self._channels_first)

    def _window(self, stored: NDArray[np.float64], item: Item | None = None) -> NDArray[np.float64]:
        """Stored columns to at most ``samples`` samples of the channels ``(n, C)``, in their unit, without gaps."""
        try:
            if self.time is not None and self.rate is not None:
                stored = on_a_grid(stored[:, 1:], stored[:, 0] * self.seconds_per_unit, self.rate)
            names = [str(channel) for channel in self.channels]
            series = without_gaps(cut(stored, self.samples, self.longer), names, self.missing)
            still = [name for name, each in zip(names, np.ptp(series, axis=0), strict=True) if each == 0]
            if still and (self.constant == "refuse" or len(still) == len(names)):
                raise PairsError(
                    "A channel never changes.", expected="samples that differ", received=f"channel {', '.join(still)}",
                    fix="leave it out of channels, or set constant: keep" if len(still) < len(names) else None,
                )  # fmt: skip
            return series
        except PairsError as error:
            raise (error if item is None else error.at(item)) from error

    def _scaled(self, series: NDArray[np.float64]) -> NDArray[np.float32]:
        """Samples ``(n, C)`` on the scale that the encoder sees, ``(C, samples)``."""
        full = pad(series, self.samples, self.shorter)
        if self.low is None or self.high is None:
            spread = series.std(axis=0)
            standard: NDArray[np.float64] = (full - series.mean(axis=0)) / np.where(spread > 0, spread, 1)
            return standard.T.astype(np.float32)
        low, high = np.asarray(self.low, dtype=np.float64), np.asarray(self.high, dtype=np.float64)
        level = (2 * full - high - low) / (high - low)
        outside = (np.abs(level) > 2).mean(axis=0).max()
        if outside > _OUTSIDE or np.ptp(level) < 2 * _UNUSED:
            raise PairsError(
                "The values of a series do not fit its range: probably the unit is wrong.",
                expected=f"values from {self.low} to {self.high} {self.unit}".strip(),
                received=f"{series.min():.4g} to {series.max():.4g}",
                fix="set low and high in the unit of the files",
            )
        clipped: NDArray[np.float32] = np.clip(level, -1, 1).T.astype(np.float32)
        return clipped

    def _represented(self, series: NDArray[np.float32]) -> Tensor:
        samples = torch.from_numpy(np.ascontiguousarray(series))
        if self.representation == "raw":
            return samples[:, None].half()
        window, hop = self.transform
        shape = torch.hann_window(window)
        spectrum = torch.stft(samples, window, hop, window=shape, center=True, return_complex=True)[:, :-1]
        amplitude = spectrum.abs() * 2 / shape.sum()
        amplitude[:, 0] /= 2  # the mean has no second half at negative frequencies
        loudest = float(amplitude.max()) if self.scale == "per_item" else 1.0
        return (1 + 20 / DECIBELS * torch.log10((amplitude / max(loudest, 1e-9)).clamp(min=1e-6))).clamp(0, 1).half()


MODALITY = TimeSeries
