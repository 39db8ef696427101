"""Embeddings of a run's own items, kept in the user's cache: the second start of a server takes seconds."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from crossdistill.console import warn
from crossdistill.encoders import Encoder
from crossdistill.encoders.encoder import weights_hash
from crossdistill.errors import StorageError
from crossdistill.evaluation.probes import Vectors
from crossdistill.files import cache_folder, write_bytes
from crossdistill.npy import read_npy

_KEPT = 16  # files


def remembered(encoder: Encoder, contents: str, shape: tuple[int, int], compute: Callable[[], Vectors]) -> Vectors:
    """The embeddings of some items, computed unless the same encoder has embedded the same items before.

    Args:
        encoder: its weights and its preprocessing are part of the key.
        contents: hash of the items' contents, in their order.
        shape: of the embeddings, ``(N, d)``.
        compute: makes them.
    """
    key = hashlib.sha256(
        f"{weights_hash(encoder)} {encoder.modality.model_dump_json(exclude={'augment_with'})} {contents}".encode()
    ).hexdigest()
    file = cache_folder() / "serve" / f"{key}.npy"
    try:
        found: Vectors = read_npy(file, shape[0] * shape[1])
        if found.shape == shape and found.dtype == np.float32 and np.isfinite(found).all():
            file.touch()
            return found
    except (OSError, ValueError):
        pass  # not there, or damaged: it is made anew
    vectors = compute()
    stream = io.BytesIO()
    np.save(stream, vectors, allow_pickle=False)
    try:
        write_bytes(file, stream.getbuffer())
        _forget(file.parent)
    except (StorageError, OSError) as error:
        warn(f"embeddings are not kept for the next start: {error}")
    return vectors


def _forget(folder: Path) -> None:
    """Removes the files that were used longest ago."""
    files = sorted(folder.glob("*.npy"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[_KEPT:]:
        file.unlink(missing_ok=True)
