"""Random changes of time series and of their spectrograms, a batch at a time and each item in its own way."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from crossdistill import draws


class TimeSeriesAugment(BaseModel):
    """Random changes of one series; 0 turns one off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift: float = Field(0.1, ge=0, le=1, description="largest shift in time, as a share of the length")
    gain: float = Field(0.1, ge=0, lt=1, description="values are multiplied by 1 - gain to 1 + gain")
    noise: float = Field(0.02, ge=0, description="standard deviation, on the scale of the decoded values")
    channel_dropout: float = Field(0.05, ge=0, lt=1, description="probability that a channel is silent, of several")
    time_masks: int = Field(1, ge=0, description="stretches of time that are masked")
    time_width: float = Field(0.15, ge=0, le=1, description="widest mask, as a share of the length")


def augment_series(batch: Tensor, change: TimeSeriesAugment, decibels: float | None) -> Tensor:
    """Changes series ``(B, C, 1, time)`` or spectrograms ``(B, C, bins, time)``; the answer is float32.

    Args:
        batch: decoded items.
        change: what may be changed, and how much.
        decibels: that 0..1 spans in a spectrogram; None for series.
    """
    (count, channels, _, length), device = batch.shape, batch.device
    values = batch.float()
    if change.shift:
        most = round(change.shift * length)
        by = draws.randint(-most, most + 1, count, device)
        place = (torch.arange(length, device=device) - by[:, None]) % length
        values = values.gather(3, place[:, None, None].expand_as(values))
    if change.gain:
        gain = 1 + change.gain * (2 * draws.rand(count, 1, 1, 1, device=device) - 1)
        values = values * gain if decibels is None else values + 20 / decibels * torch.log10(gain)
    if change.noise:
        values = values + change.noise * draws.randn_like(values)
    if change.channel_dropout and channels > 1:
        silent = draws.rand(count, channels, device=device) < change.channel_dropout
        silent &= ~silent.all(dim=1, keepdim=True)  # something has to be left
        values = values.masked_fill(silent[:, :, None, None], 0.0)
    for _ in range(change.time_masks):
        width = draws.rand(count, 1, device=device) * change.time_width * length
        first = draws.rand(count, 1, device=device) * (length - width)
        cell = torch.arange(length, device=device)
        values = values.masked_fill(((cell >= first) & (cell < first + width))[:, None, None], 0.0)
    return values if decibels is None else values.clamp(0, 1)
