"""Resizing as matrix products: what the modalities do to an item, in operations that every graph format has.

Pictures of 8 bits come out equal to the last bit. torchvision resizes them with whole-number weights, first along the
rows and then along the columns, and rounds after each (ATen's UpSampleKernel.cpp, after Pillow-SIMD). The same weights
stand here in a matrix that is built from the picture's height and width when the graph runs, so that one graph takes
pictures of any size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from crossdistill.modalities.square import Fit

_REACH = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}  # of a kernel to either side, in output pixels
_MOST_BITS, _LARGEST = 22, 1 << 15  # of ATen's whole-number weights
_SPLIT = 128.0  # weights are taken apart into multiples of it and a rest, so that float32 sums stay exact


class Window(NamedTuple):
    """Which part of a resized line is kept. All are scalars in float64.

    Attributes:
        length: of the line before, in pixels.
        out: of the line after.
        first: its first pixel that is kept; negative where the line is padded.
    """

    length: Tensor
    out: Tensor
    first: Tensor


def windows(height: int, width: int, side: int, fit: Fit) -> tuple[Window, Window]:
    """For columns and rows what :func:`~crossdistill.modalities.square.square` resizes to and keeps."""
    lengths = [torch.scalar_tensor(length, dtype=torch.float64) for length in (height, width)]
    if fit == "squash":
        out, first = torch.full((), float(side), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        return Window(lengths[0], out, first), Window(lengths[1], out, first)
    edge = torch.minimum(*lengths) if fit == "crop" else torch.maximum(*lengths)
    outs = [torch.round(length * side / edge).clamp(min=1) for length in lengths]
    if fit == "crop":
        firsts = [torch.round((out - side) / 2) for out in outs]
    else:
        firsts = [-torch.floor((side - out) / 2) for out in outs]
    return Window(lengths[0], outs[0], firsts[0]), Window(lengths[1], outs[1], firsts[1])


def kept(window: Window, side: int) -> Tensor:
    """Which of ``side`` pixels lie on the resized line; the others are padding, ``(side,)``."""
    place = torch.arange(side, dtype=torch.float64) + window.first
    return (place >= 0) & (place < window.out)


def weights(interpolation: str, window: Window, length: int, first: Tensor, side: int) -> Tensor:
    """How much each of ``length`` pixels counts in pixels ``first`` to ``first + side`` of the line after.

    Returns:
        ``(side, length)`` in float64; a row sums to one, or to zero where it is padding.
    """
    scale = window.length / window.out
    place = torch.arange(side, dtype=torch.float64) + first
    pixel = torch.arange(length, dtype=torch.float64)
    on_line = ((place >= 0) & (place < window.out))[:, None]
    if interpolation == "nearest":  # of which ATen computes the place in float32
        near = torch.floor(place.float() * (window.length.float() / window.out.float())).double()
        chosen = torch.minimum(near, window.length - 1)[:, None] == pixel
        return (chosen & on_line).double()
    wide = scale.clamp(min=1)
    reach = _REACH[interpolation] * wide
    centre = scale * (place + 0.5)
    low = torch.floor(centre - reach + 0.5).clamp(min=0)[:, None]
    high = torch.minimum(torch.floor(centre + reach + 0.5), window.length)[:, None]
    value = _kernel(interpolation, (pixel - centre[:, None] + 0.5) / wide)
    value = value * ((pixel >= low) & (pixel < high) & on_line).double()
    total = value.sum(dim=1, keepdim=True)
    return value / torch.where(total == 0, torch.ones_like(total), total)


def _kernel(interpolation: str, distance: Tensor) -> Tensor:
    x = distance.abs()
    if interpolation == "bilinear":
        return (1 - x).clamp(min=0)
    if interpolation == "bicubic":  # Keys with a = -0.5, as Pillow has it
        near = (1.5 * x - 2.5) * x * x + 1
        far = -0.5 * (((x - 5) * x + 8) * x - 4)
        return torch.where(x < 1, near, far) * (x < 2).double()
    turn = math.pi * torch.where(x == 0, torch.ones_like(x), x)
    value = torch.sin(turn) / turn * (torch.sin(turn / 3) / (turn / 3))
    return torch.where(x == 0, torch.ones_like(x), value) * (x < 3).double()


def resize_pixels(pixels: Tensor, side: int, fit: Fit, interpolation: str, fill: Tensor | None = None) -> Tensor:
    """``(B, C, H, W)`` of whole numbers 0..255 in float32 to ``(B, C, side, side)``, likewise.

    Args:
        pixels: of any height and width.
        side: in pixels.
        fit: see :data:`~crossdistill.modalities.square.Fit`.
        interpolation: nearest, bilinear, bicubic or lanczos.
        fill: colours ``(B, C)`` that ``pad`` fills with.
    """
    height, width = pixels.shape[-2:]
    down, across = windows(height, width, side, fit)
    columns, unit = _whole_weights(interpolation, across, width, side)
    found = _rounded(pixels @ columns.transpose(0, 1), -1, unit)
    rows, unit = _whole_weights(interpolation, down, height, side)
    found = _rounded(rows @ found, -2, unit)
    if fit != "pad" or fill is None:
        return found
    return torch.where(kept(down, side)[:, None] & kept(across, side), found, fill[:, :, None, None])


def _whole_weights(interpolation: str, window: Window, length: int, side: int) -> tuple[Tensor, Tensor]:
    """ATen's whole-number weights, multiples of 128 above the rests ``(2 * side, length)``, and what stands for one."""
    exact = weights(interpolation, window, length, window.first, side)
    # The unit depends on the largest weight of the whole line. That is near its beginning, where kernels are cut off.
    start = weights(interpolation, window, length, torch.zeros_like(window.first), side)
    largest = torch.maximum(exact.amax(dim=(0, 1)), start.amax(dim=(0, 1)))
    units = torch.tensor([2.0**bits for bits in range(1, _MOST_BITS + 1)], dtype=torch.float64)
    bits = (torch.floor(0.5 + largest * units) < _LARGEST).double().sum()
    unit = torch.pow(torch.full((), 2.0, dtype=torch.float64), bits)
    scaled = exact * unit
    whole = torch.sign(scaled) * torch.floor(scaled.abs() + 0.5)
    high = torch.floor(whole / _SPLIT)
    return torch.cat([high, whole - high * _SPLIT]).float(), unit.float()


def _rounded(sums: Tensor, axis: int, unit: Tensor) -> Tensor:
    """``(128 * high + rest) / unit`` of the halves along ``axis``, rounded to 0..255 without losing a bit between."""
    high, rest = torch.chunk(sums, 2, dim=axis)
    value = high * (_SPLIT / unit) + 0.5
    whole = torch.floor(value)
    return (whole + torch.floor((value - whole) + rest / unit)).clamp(0, 255)


def resize_values(planes: Tensor, side: int, fit: Fit) -> Tensor:
    """Measured values ``(B, C, H, W)`` in float32 to ``(B, C, side, side)``, bilinear; padding is zero."""
    height, width = planes.shape[-2:]
    down, across = windows(height, width, side, fit)
    columns = weights("bilinear", across, width, across.first, side).float()
    rows = weights("bilinear", down, height, down.first, side).float()
    return rows @ (planes @ columns.transpose(0, 1))
