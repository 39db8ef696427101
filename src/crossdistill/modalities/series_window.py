"""A window of a recording on a uniform grid: its time stamps, its gaps and its length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import PairsError

Floats = NDArray[np.float64]

_RATE_TOLERANCE = 0.05  # of a measured rate
_GAP = 1.5  # intervals without a sample, from which on there is none to interpolate from
_LONGER = 16  # times as many points on a grid as samples; beyond it a recording is mostly a pause
_LARGEST = 1e30  # beyond it no sum of squares is to be had


def on_a_grid(values: Floats, time: Floats, rate: float) -> Floats:
    """Samples ``(n, C)`` at increasing times in seconds, interpolated linearly at ``rate``; NaN inside of gaps.

    Raises:
        PairsError: the times do not increase or leap far ahead, or the samples come at another rate.
    """
    if len(time) < 2 or not np.isfinite(time).all() or (np.diff(time) <= 0).any():
        wrong = int(np.argmin(np.diff(time) > 0)) if len(time) > 1 else 0
        raise PairsError(
            "The times of a series do not increase.", expected="a number in each line, larger than the one before",
            received=f"{', '.join(f'{each:.6g}' for each in time[wrong : wrong + 2])} at sample {wrong}",
        )  # fmt: skip
    steps = np.diff(time)
    measured = 1 / float(steps[steps <= _GAP * np.median(steps)].mean())
    if abs(measured / rate - 1) > _RATE_TOLERANCE:
        raise PairsError(
            "A series was sampled at another rate.", expected=f"{rate:g} Hz",
            received=f"{measured:.4g} Hz by its times",
            fix="set rate, or seconds_per_unit if its times are not in seconds, or resample the file",
        )  # fmt: skip
    longest = float((time[-1] - time[0]) * rate)
    if longest > _LONGER * len(time):
        raise PairsError(
            "The times of a series leap far ahead.", expected=f"about {len(time)} intervals of {1 / rate:g} s",
            received=f"{longest:.4g} of them between the first sample and the last",
            fix="split the recording where it pauses",
        )  # fmt: skip
    grid = time[0] + np.arange(int(longest + 1e-6) + 1) / rate
    after = np.clip(np.searchsorted(time, grid), 1, len(time) - 1)
    inside = (time[after] - time[after - 1]) * rate <= _GAP
    close = np.minimum(np.abs(grid - time[after - 1]), np.abs(time[after] - grid)) * rate < 0.1
    placed = np.stack([np.interp(grid, time, channel) for channel in values.T], axis=1)
    return np.where((inside | close)[:, None], placed, np.nan)


def cut(values: Floats, length: int, longer: str) -> Floats:
    """At most ``length`` samples of ``(n, C)``."""
    spare = len(values) - length
    first = max(0, spare // 2) if longer == "middle" else 0
    return values[first : first + length]


def without_gaps(values: Floats, names: list[str], most: float) -> Floats:
    """Missing values ``(n, C)`` interpolated linearly.

    Raises:
        PairsError: in a channel more than the share ``most`` is missing, or a value is no measurement.
    """
    known = np.isfinite(values)
    largest = float(np.abs(values, where=known, out=np.zeros_like(values)).max())
    if largest > _LARGEST:
        raise PairsError("A value of a series is no measurement.", received=f"{largest:.4g}")
    share = 1 - known.mean(axis=0)
    worst = int(share.argmax())
    if share[worst] > most or not known[:, worst].any():
        raise PairsError(
            "Too many values of a channel are missing.", expected=f"at most {most:.0%} (missing: {most:g})",
            received=f"{share[worst]:.1%} of channel {names[worst]}",
        )  # fmt: skip
    place = np.arange(len(values))
    filled = [np.interp(place, place[good], channel[good]) for channel, good in zip(values.T, known.T, strict=True)]
    return np.stack(filled, axis=1)


def pad(values: Floats, length: int, shorter: str) -> Floats:
    """``(n, C)`` brought to ``length``: around it each channel's mean, or behind it itself again."""
    spare = length - len(values)
    if spare <= 0:
        return values
    if shorter == "repeat":
        return values[np.arange(length) % len(values)]
    mean = values.mean(axis=0, keepdims=True)
    return np.concatenate([mean.repeat(spare // 2, axis=0), values, mean.repeat(spare - spare // 2, axis=0)])
