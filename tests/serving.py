"""A tiny run with a baseline, as `crossdistill serve` is tested on it."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from crossdistill.pipeline import run
from crossdistill.pipeline.folder import RunFolder


def make_run(manifest: Path, out: Path) -> RunFolder:
    """Two students of one epoch, with all that the page shows."""
    return run(
        {
            "pairs": {"manifest": str(manifest), "split": {"val": 0.25, "test": 0.3}},
            "source": {"size": 32},
            "target": {"size": 32, "channels": 1},
            "teacher": {"backbone": "test_resnet", "weights": "random"},
            "student": {"backbone": "test_resnet"},
            "baselines": ["l2"],
            "train": {"epochs": 2, "batch_size": 16},
            "evaluate": {"protocols": ["retrieval", "zero_shot"], "shots": [2], "controls": ["random_student"]},
            "out": str(out),
        }
    )


def png(width: int = 48, height: int = 48) -> bytes:
    """A picture with a square on it."""
    picture = Pillow.new("RGB", (width, height), "white")
    picture.paste("black", (width // 4, height // 4, width // 2, height // 2))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def png_bomb() -> bytes:
    """A few bytes that claim 60,000 x 60,000 pixels."""
    content = bytearray(png(8, 8))
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def npy(values: np.ndarray) -> bytes:  # type: ignore[type-arg]
    """An array's file."""
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
