"""What the headers of uploads say of their size, before anything of that size is decoded."""

from __future__ import annotations

import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from PIL import Image as Pillow

from crossdistill.item import Item
from crossdistill.modalities import Modality
from crossdistill.npy import npy_header
from crossdistill.serve.limits import Limits, RefusedError

_SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64")
_ARRAYS, _TIFF = (".npy", ".npz"), (".tif", ".tiff")
# Formats whose header nobody reads here: limits of time and memory hold them (docs/serve.md names them).
_OTHERS = (".json", ".ndjson", ".csv", ".tsv", ".txt", ".svg", ".exr")
# What the readers of headers raise of damaged files; the modality's reader then says what is wrong.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, RuntimeError,
            NotImplementedError, OverflowError, MemoryError, struct.error, zlib.error,
            zipfile.BadZipFile)  # fmt: skip


def check_header(item: Item, modality: Modality, limits: Limits) -> None:
    """Refuses what its header says is too large, before any of it is decoded.

    Files whose header nobody here reads are left to the modality's reader, which has limits of its own, and to the
    limits of time and memory.

    Raises:
        RefusedError: too many pixels or values, or too long (413).
    """
    suffix = item.suffix.lower()
    if suffix in _ARRAYS:
        _check_arrays(item, modality, limits)
    elif suffix in _SOUNDS or modality.modality == "audio":
        _check_sound(item, limits)
    elif suffix not in _OTHERS:
        _check_picture(item, limits)
        if suffix in _TIFF and modality.modality not in ("image", "sketch"):  # these read the first page, by Pillow
            _check_tiff(item, limits)


def _check_picture(item: Item, limits: Limits) -> None:
    try:
        with warnings.catch_warnings(action="ignore"), item.open("rb") as stream, Pillow.open(stream) as opened:
            size: tuple[int, ...] = opened.size
    except Pillow.DecompressionBombError:
        raise _too_many(item, limits, "far more") from None
    except _DAMAGED:
        return  # no picture, or a damaged one: the modality's reader says so
    _check_size(item, limits, size)


def _check_tiff(item: Item, limits: Limits) -> None:
    """Of several channels, or as several pages, of which Pillow sees one at most."""
    try:
        import tifffile
    except ImportError:
        return
    try:
        with warnings.catch_warnings(action="ignore"), item.open("rb") as stream, tifffile.TiffFile(stream) as file:
            shapes = [tuple(series.shape) for series in file.series]
    except _DAMAGED:
        return
    for shape in shapes:
        # As the reader does: the smallest of three is the number of channels.
        _check_size(item, limits, sorted(shape)[1:] if len(shape) == 3 else shape)


def _check_arrays(item: Item, modality: Modality, limits: Limits) -> None:
    """Values are pixels with up to 4 channels; of sounds they are samples, of which there is no rate."""
    try:
        with item.open("rb") as stream:
            shapes = list(_shapes(item, stream))
    except _DAMAGED:
        return
    for shape in shapes:
        pixels = shape
        if modality.modality not in ("audio", "timeseries", "embedding") and len(shape) >= 3:
            pixels = tuple(sorted(shape)[1:]) if len(shape) == 3 else shape[:-1]
        _check_size(item, limits, pixels)


def _shapes(item: Item, stream: BinaryIO) -> Iterator[tuple[int, ...]]:
    if item.suffix.lower() == ".npy":
        yield npy_header(stream)[0]
        return
    with zipfile.ZipFile(stream) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                yield npy_header(cast(BinaryIO, member))[0]


def _check_size(item: Item, limits: Limits, shape: tuple[int, ...] | list[int]) -> None:
    if math.prod(shape) > limits.pixels:
        raise _too_many(item, limits, " x ".join(f"{length:,}" for length in shape))


def _too_many(item: Item, limits: Limits, received: str) -> RefusedError:
    return RefusedError(
        "A picture has too many pixels.", status=413, where=item, expected=f"at most {limits.pixels:,} pixels",
        received=received, fix="send a smaller picture",
    )  # fmt: skip


def _check_sound(item: Item, limits: Limits) -> None:
    try:
        import soundfile
    except ImportError:
        return
    try:
        with item.open("rb") as stream, soundfile.SoundFile(stream) as opened:
            seconds, channels = opened.frames / max(opened.samplerate, 1), opened.channels
    except (soundfile.SoundFileError, *_DAMAGED):
        return
    if seconds > limits.sound_seconds or channels > 8:
        raise RefusedError(
            "A sound is too long.", status=413, where=item,
            expected=f"at most {limits.sound_seconds:g} seconds and 8 channels",
            received=f"{seconds:,.0f} seconds, {channels} channels", fix="send the part of it that matters",
        )  # fmt: skip
