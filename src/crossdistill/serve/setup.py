"""What the page's input offers for a student: a canvas, a microphone, or files, and some items to try."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from crossdistill.pairs import Side
from crossdistill.serve.answer import address
from crossdistill.serve.drawing import Style, style_of
from crossdistill.serve.limits import MIB, Limits
from crossdistill.serve.student import Student

# Of each modality: what a file chooser offers, and how people call it.
_FILES = {
    "image": ("image/*,.npy", "PNG, JPEG, WebP, TIFF, ..."),
    "sketch": ("image/*,.svg,.json,.ndjson,.npy", "PNG, JPEG, SVG, QuickDraw strokes, ..."),
    "depth": (".png,.tif,.tiff,.npy,.npz,.exr", "16-bit PNG, TIFF, NPY, EXR"),
    "thermal": (".png,.tif,.tiff,.npy,.npz,.exr", "16-bit PNG, TIFF, NPY"),
    "multispectral": (".tif,.tiff,.npy,.npz,.exr", "TIFF, NPY"),
    "audio": ("audio/*,.npy", "WAV, FLAC, OGG, MP3"),
    "video": ("video/*,.gif,.npy", "MP4, WebM, MOV, GIF"),
    "timeseries": (".csv,.tsv,.txt,.npy", "CSV, NPY"),
    "embedding": (".npy,.json,.csv,.txt", "NPY, JSON, CSV"),
}


def setup_of(student: Student, side: Side, limits: Limits) -> dict[str, Any]:
    """Plain values for the page's script."""
    modality = student.modality(side)
    kind = modality.modality
    accept, told = _FILES.get(kind, ("", f"files of the modality {kind}"))
    drawn = kind == "sketch" or (kind == "image" and (side == "target" or getattr(modality, "channels", 3) == 1))
    shelf = student.own[side]
    return {
        "run": student.id,
        "side": side,
        "modality": kind,
        "draws": drawn,
        "records": kind == "audio",
        "seconds": getattr(modality, "seconds", None),
        "accept": accept,
        "kinds": f"{told} up to {limits.upload_bytes / MIB:.3g} MiB",
        "most": limits.upload_bytes,
        "style": _style(student, side).model_dump() if drawn else None,
        "examples": [
            {
                "position": position,
                "picture": address(student, shelf, position, "picture"),
                "name": shelf.gallery.entries[position].label or f"item {position}",
            }
            for position in student.examples[side]
        ],
    }


@lru_cache(maxsize=32)
def _style(student: Student, side: Side) -> Style:
    return style_of(student.own[side].gallery, np.flatnonzero(student.trained[side]))
