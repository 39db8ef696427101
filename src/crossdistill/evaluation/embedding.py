"""Vectors of items, and the view of a paired data set that evaluation needs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from crossdistill import ranks
from crossdistill.console import track
from crossdistill.encoders import Encoder
from crossdistill.evaluation.intervals import Ints
from crossdistill.evaluation.probes import Vectors
from crossdistill.pairs import Pairs, Side, Split
from crossdistill.pairs.items import Items

_BATCH = 128


def embed_items(
    encoder: Encoder, items: Items, device: torch.device, description: str | None = None
) -> tuple[Vectors, Vectors]:
    """Embeddings ``(N, d)`` and backbone features ``(N, F)`` of items in their canonical view, in float32.

    Ranks share the items, and each has all vectors in the end.

    Args:
        encoder: put into eval mode.
        items: decoded with the encoder's modality.
        device: where to compute.
        description: of a progress bar; None shows none.
    """
    encoder = encoder.to(device).eval()
    embeddings, features = [], []
    part = ranks.share(len(items))
    with track(description, len(part)) if description else nullcontext() as task:
        # As many calls on every rank, for a network that is spread over them: the last may embed an item too many.
        for start in range(part.start, part.start + -(-len(items) // ranks.world()), _BATCH):
            numbers = range(start, min(start + _BATCH, part.stop)) or range(1)
            pixels = items.batch(numbers)
            with torch.no_grad():
                found = encoder.features(encoder.modality.normalise(pixels.to(device)))
                projected = encoder.project(found)
            if start < part.stop:
                embeddings.append(projected.float().cpu().numpy())
                features.append(found.float().cpu().numpy())
            if task is not None:
                task.advance(len(pixels))
    empty = [np.empty((0, width), dtype=np.float32) for width in (encoder.width, encoder.architecture.features)]
    found_here = np.concatenate([empty[0], *embeddings]), np.concatenate([empty[1], *features])
    return ranks.gather_rows(found_here[0]), ranks.gather_rows(found_here[1])


@dataclass(frozen=True)
class RowVectors:
    """Vectors of some rows of a data set.

    Attributes:
        rows: row numbers ``(N,)``.
        embeddings: ``(N, d)``.
        features: ``(N, F)``; the embeddings where there is nothing before the head.
    """

    rows: Ints
    embeddings: Vectors
    features: Vectors

    def take(self, rows: Ints | Sequence[int], kind: str = "embedding") -> Vectors:
        """The vectors of ``rows``, ``(n, d)``."""
        place = {int(row): index for index, row in enumerate(self.rows)}
        chosen = [place[int(row)] for row in rows]
        return (self.embeddings if kind == "embedding" else self.features)[chosen]


@dataclass(frozen=True)
class EvaluationSet:
    """What a paired data set offers to evaluation.

    Attributes:
        pairs: with splits.
        source_ids: for each row the identity of its source item ``(N,)``; -1 without one.
    """

    pairs: Pairs
    source_ids: Ints

    def rows(self, split: Split, side: Side, *, labelled: bool | None = None) -> Ints:
        """Rows of a split that have an item on ``side`` (and a label)."""
        return np.array(self.pairs.where(split, has=(side,), labelled=labelled), dtype=np.int64)

    def paired(self, split: Split) -> Ints:
        """Rows of a split that have both sides."""
        return np.array(self.pairs.where(split, has=("source", "target")), dtype=np.int64)

    def labels(self, rows: Ints) -> Ints:
        """Class numbers of labelled rows, in the order of ``pairs.classes``."""
        number = {name: index for index, name in enumerate(self.pairs.classes)}
        return np.array([number[self.pairs[int(row)].label or ""] for row in rows], dtype=np.int64)

    def groups(self, rows: Ints) -> Ints:
        """Group numbers of rows."""
        return np.array(self.pairs.group_ids, dtype=np.int64)[rows]
