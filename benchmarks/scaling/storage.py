"""Files, mapped banks and pictures to measure reading on."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow


def disk(folder: Path, size: int) -> tuple[float, float]:
    """Bytes a second written, with fsync, and read again after the cache was told to forget them."""
    path, content = folder / "disk.bin", os.urandom(1 << 20)
    started = time.perf_counter()
    with path.open("wb") as stream:
        for _ in range(size >> 20):
            stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    written = time.perf_counter() - started
    started = time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while stream.read(1 << 20):
            pass
    return size / written, size / (time.perf_counter() - started)


def mapped_rows(folder: Path, columns: int, width: int, count: int) -> tuple[float, float]:
    """Seconds of a row of a mapped float16 bank, chosen at random: in the page cache, and not there."""
    path = folder / "bank.npy"
    np.save(path, np.random.default_rng(0).standard_normal((columns, width), dtype=np.float32).astype(np.float16))
    chosen = torch.from_numpy(np.random.default_rng(1).permutation(columns)[:count])
    seconds = []
    for warm in (True, False):
        descriptor = os.open(path, os.O_RDONLY)
        if not warm:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
        matrix = torch.from_numpy(np.array(np.load(path, mmap_mode="c"), copy=False))
        if warm:
            matrix.sum()
        started = time.perf_counter()
        matrix.index_select(0, chosen).float()
        seconds.append((time.perf_counter() - started) / count)
        del matrix
    return seconds[0], seconds[1]


class MemoryItem:
    """A PNG picture that is in memory; see :class:`crossdistill.item.Item`."""

    suffix = ".png"

    def __init__(self, number: int, size: int = 64) -> None:
        self.name = f"{number}.png"
        coarse = Pillow.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((size, size), Pillow.Resampling.BICUBIC).save(stream, "png")
        self._content = stream.getvalue()

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Its bytes as a stream."""
        return io.BytesIO(self._content)

    def read_bytes(self) -> bytes:
        """All of its bytes."""
        return self._content


def photograph(folder: Path) -> Path:
    """A JPEG of 320 x 240 pixels."""
    path = folder / "photo.jpg"
    coarse = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Pillow.fromarray(coarse).resize((320, 240), Pillow.Resampling.BICUBIC).save(path, quality=90)
    return path
