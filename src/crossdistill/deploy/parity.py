"""Whether an export gives what PyTorch gives, measured on real items in batches of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill.deploy.entry import Entry
from crossdistill.deploy.picture_entry import PictureEntry
from crossdistill.encoders import Encoder
from crossdistill.errors import EncoderError
from crossdistill.item import Item

Runner = Callable[[Tensor], NDArray[np.float32]]
"""An export at work: a batch of its input to vectors ``(B, d)``."""

_BATCH = 32
_RESIZED = 4  # pictures that are brought to other sizes, where all have one
_OTHER_SIZES = ((0.61, 1.37), (1.83, 1.0), (0.5, 0.5))


@dataclass(frozen=True)
class Parity:
    """What was found.

    Attributes:
        items: how many were compared.
        batches: sizes of the batches they were given in.
        shapes: how many different shapes they had.
        difference: the largest absolute difference of a component of the unit vectors.
        cosine: the lowest cosine similarity of an item's two vectors.
        worst: the item with the largest difference.
        tolerance: the largest difference that is taken.
    """

    items: int
    batches: tuple[int, ...]
    shapes: int
    difference: float
    cosine: float
    worst: str
    tolerance: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``export.json``."""
        return {**asdict(self), "batches": list(self.batches)}


@dataclass(frozen=True)
class Sample:
    """One real item.

    Attributes:
        name: for messages.
        array: as the export takes it.
        vector: PyTorch's, ``(d,)``, of unit length.
    """

    name: str
    array: NDArray[Any]
    vector: NDArray[np.float32]


def embedded(encoder: Encoder, decoded: Sequence[Tensor]) -> NDArray[np.float32]:
    """PyTorch's unit vectors ``(N, d)`` of decoded items, as ``CrossModalModel.embed`` makes them."""
    found = []
    with torch.no_grad():
        for start in range(0, len(decoded), _BATCH):
            batch = torch.stack(list(decoded[start : start + _BATCH]))
            vectors = encoder(encoder.modality.normalise(batch))
            found.append(torch.nn.functional.normalize(vectors.float(), dim=1).numpy())
    return np.concatenate(found)


def samples_of(encoder: Encoder, entry: Entry, items: Sequence[Item]) -> list[Sample]:
    """Real items with PyTorch's vectors; where all pictures have one size, a few of them in other sizes as well."""
    modality = encoder.modality
    names, arrays = [str(item) for item in items], [entry.array(item) for item in items]
    decoded = [modality.decode(item) for item in items]
    if isinstance(entry, PictureEntry) and len(entry.axes) == 3 and len({array.shape for array in arrays}) == 1:
        for name, array in list(zip(names, arrays, strict=True))[:_RESIZED]:
            for size, other in _in_other_sizes(array):
                names.append(f"{name} in {size}")
                arrays.append(other)
                decoded.append(modality.from_array(other))
    vectors = embedded(encoder, decoded)
    return [Sample(*each) for each in zip(names, arrays, vectors, strict=True)]


def _in_other_sizes(array: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    from PIL import Image

    picture = Image.fromarray(array)
    for across, down in _OTHER_SIZES:
        size = max(1, round(picture.width * across)), max(1, round(picture.height * down))
        yield f"{size[0]} x {size[1]}", np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def measure_parity(entry: Entry, run: Runner, samples: Sequence[Sample], tolerance: float) -> Parity:
    """Gives all samples to an export, in batches of one, of three, and of all that have one shape.

    Raises:
        EncoderError: its vectors differ by more than ``tolerance``, or are not finite.
    """
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.array.shape, []).append(sample)
    worst, lowest, where, sizes = -1.0, 1.0, "", set()
    for members in groups.values():
        for batch in _batches(members):
            found = run(entry.batch([sample.array for sample in batch]))
            sizes.add(len(batch))
            for sample, vector in zip(batch, found, strict=True):
                require_finite(vector, "The export", sample.name)  # nothing can be compared with NaN
                require_finite(sample.vector, "The encoder, in PyTorch itself,", sample.name)
                difference = float(np.abs(vector - sample.vector).max())
                if difference > worst:
                    worst, where = difference, sample.name
                lowest = min(lowest, float(vector @ sample.vector))
    parity = Parity(len(samples), tuple(sorted(sizes)), len(groups), worst, lowest, where.rsplit("/", 1)[-1], tolerance)
    if worst > tolerance:
        raise EncoderError(
            "The export does not agree with PyTorch.", where=where,
            expected=f"unit vectors that differ by at most {tolerance:g}", received=f"a difference of {worst:.3g}",
            fix="a larger --tolerance takes it as it is; --input decoded leaves the preprocessing outside of the graph",
        )  # fmt: skip
    return parity


def require_finite(vector: NDArray[np.float32], who: str, name: str) -> None:
    """Refuses a vector ``(d,)`` that is not finite.

    Raises:
        EncoderError: it is not.
    """
    wrong = int((~np.isfinite(vector)).sum())
    if wrong:
        raise EncoderError(
            f"{who} gives values that are not finite.", where=name, expected=f"{len(vector)} finite numbers",
            received=f"{wrong} of {len(vector)} are NaN or infinite",
        )  # fmt: skip


def _batches(members: list[Sample]) -> Iterator[list[Sample]]:
    """All of them at once; the first ones one by one; and three at once, where there are fewer repeated."""
    yield members
    if len(members) > 1:
        for sample in members[:3]:
            yield [sample]
    if len(members) != 3:
        yield [members[number % len(members)] for number in range(3)]
