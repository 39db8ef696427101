"""A few hundred pairs, ready for pilots: targets decoded and made small, sources embedded by the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from crossdistill.encoders import Encoder, Teacher
from crossdistill.errors import CrossDistillError
from crossdistill.evaluation import embed_items
from crossdistill.evaluation.intervals import Ints
from crossdistill.evaluation.probes import Vectors
from crossdistill.modalities import Modality
from crossdistill.modalities.image import Image
from crossdistill.modalities.video import Video
from crossdistill.pairs import Pairs
from crossdistill.pairs.items import Items
from crossdistill.pairs.table import class_numbers

CELLS = 1600  # of one plane of a target: pilots see grids that are no finer
_LEAST = 8  # cells along an axis
_AT_ONCE = 64  # targets that are there at full size
_SAME = 0.1  # mean difference of two equal pictures, in deviations of a picture's values
UNLABELLED = -1


@dataclass(frozen=True, kw_only=True)
class Bed:
    """Pairs on which pilots are trained and measured.

    Attributes:
        rows: of the data set that they stand in ``(n,)``.
        targets: decoded, at most ``CELLS`` cells a plane; normalised as the teacher's items are, where their section
            does not say otherwise.
        teacher: embeddings of the sources ``(n, d)``, around their mean.
        shown: the teacher's embeddings of pictures of the targets ``(n, d)``, around their mean; None where it takes no
            pictures.
        ids: identity of the source items ``(n,)``.
        groups: ``(n,)``.
        labels: class numbers ``(n,)``, -1 for an item without one.
        classes: names of the classes.
        identical: share of the pairs whose target shows just what the source shows.
    """

    rows: Ints
    targets: Items
    teacher: Vectors
    shown: Vectors | None
    ids: Ints
    groups: Ints
    labels: Ints
    classes: tuple[str, ...]
    identical: float = 0.0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def same_targets(self) -> float:
        """Share of the pairs that have the most common target."""
        values = self.targets.batch(range(len(self)))
        return _most_common(values.reshape(len(values), -1).numpy())

    @property
    def same_sources(self) -> float:
        """Share of the source items that the teacher embeds into the most common vector."""
        _, first = np.unique(self.ids, return_index=True)
        return _most_common(self.teacher[first])


def lay_bed(
    pairs: Pairs, rows: Sequence[int], encoder: Encoder, target: Modality, *, device: torch.device, workers: int = 0
) -> Bed:
    """Reads and embeds the pairs of ``rows``.

    Args:
        pairs: the data set.
        rows: with both sides.
        encoder: the teacher.
        target: resolved modality of the targets.
        device: where the teacher computes.
        workers: processes that decode.

    Raises:
        PairsError: an item cannot be read; it is named.
    """
    chosen = np.array(rows, dtype=np.int64)
    number: dict[str, int] = {}
    ids = np.array([number.setdefault(str(pairs[row].source), len(number)) for row in rows], dtype=np.int64)
    _, first = np.unique(ids, return_index=True)
    teacher = Teacher(encoder, device)
    sources = Items.of(pairs, [rows[place] for place in first], "source", teacher.modality, workers)
    embedded = embed_items(teacher.encoder, sources, device, "embedding sources")[0][ids]
    decoded = Items.of(pairs, rows, "target", target, workers)
    parts, drawn, alike = [], [], []
    for start in range(0, len(rows), _AT_ONCE):  # large items are many bytes
        numbers = range(start, min(start + _AT_ONCE, len(rows)))
        values = decoded.batch(numbers)
        pictures = _pictures(teacher, target, values)
        alike.append(_identical(sources.batch(ids[list(numbers)].tolist()), values if pictures is None else pictures))
        parts.append(shrunk(values))
        if pictures is not None:
            drawn.append(embed_items(teacher.encoder, Items.of_tensor(pictures, teacher.modality), device)[0])
    small = torch.cat(parts)
    return Bed(
        rows=chosen,
        targets=Items.of_tensor(small, target.with_statistics(small)),
        teacher=_centred(embedded),
        shown=_centred(np.concatenate(drawn)) if drawn else None,
        ids=ids,
        groups=np.array(pairs.group_ids, dtype=np.int64)[chosen],
        labels=np.array(class_numbers(pairs, rows), dtype=np.int64),
        classes=pairs.classes,
        identical=float(np.concatenate(alike).mean()),
    )


def shrunk(values: Tensor) -> Tensor:
    """Decoded items ``(N, ..., H, W)`` on a grid of at most ``CELLS`` cells, in their dtype; vectors as they are."""
    if values.ndim < 4:
        return values
    height, width = values.shape[-2:]
    scale = (CELLS / (height * width)) ** 0.5
    if scale >= 1:
        return values
    # A long side gives way before a short one: a spectrogram keeps its bands, a series its channels.
    rows = min(height, max(_LEAST, round(height * scale)))
    columns = min(width, max(_LEAST, round(CELLS / rows)))
    planes = values.reshape(-1, 1, height, width)
    parts = [
        F.interpolate(part.float(), size=(rows, columns), mode="bilinear", antialias=True, align_corners=False)
        for part in torch.split(planes, 512)
    ]
    small = torch.cat(parts)
    if not values.is_floating_point():
        small = small.round_().clamp_(0, torch.iinfo(values.dtype).max)
    return small.to(values.dtype).reshape(*values.shape[:-2], rows, columns)


def _pictures(teacher: Teacher, target: Modality, values: Tensor) -> Tensor | None:
    """Pictures of targets as the teacher takes them; None where it takes no pictures, or they cannot be drawn."""
    modality = teacher.modality
    if not isinstance(modality, Image) or isinstance(modality, Video):
        return None
    side = modality.shape[-1]
    try:
        drawn = [modality.from_array(np.asarray(target.draw(each, side).convert("RGB"))) for each in values]
    except (CrossDistillError, NotImplementedError):
        return None
    return torch.stack(drawn)


def _identical(sources: Tensor, targets: Tensor) -> NDArray[np.bool_]:
    """Of which pairs the two sides ``(B, *shape)`` differ by no more than resampling changes ``(B,)``."""
    if targets.shape != sources.shape:
        return np.zeros(len(sources), dtype=bool)
    one, other = sources.float().flatten(1), targets.float().flatten(1)
    spread = one.std(dim=1).clamp(min=1e-6)
    found: NDArray[np.bool_] = ((one - other).abs().mean(dim=1) < _SAME * spread).numpy()
    return found


def _most_common(rows: NDArray[Any]) -> float:
    """Share of the most common row."""
    _, counts = np.unique(np.ascontiguousarray(rows), axis=0, return_counts=True)
    return float(counts.max() / len(rows))


def _centred(vectors: Vectors) -> Vectors:
    found: Vectors = (vectors - vectors.mean(axis=0)).astype(np.float32)
    return found
