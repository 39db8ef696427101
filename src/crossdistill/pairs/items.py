"""Items as tensors: decoded once and kept in compact form where memory allows, else decoded when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from crossdistill.console import track
from crossdistill.errors import CrossDistillError, PairsError
from crossdistill.item import Item
from crossdistill.modalities import Modality
from crossdistill.pairs.patience import time_limit
from crossdistill.pairs.reading import decoded
from crossdistill.pairs.table import Pairs, Side

CACHE_BYTES = 1 << 30  # decoded items beyond this are read from disk each time


class Items(Dataset[Tensor]):
    """The items of some rows on one side, as decoded tensors ``(*modality.shape)`` in the modality's compact dtype.

    Args:
        files: what to decode, in order.
        wheres: for each file where it is named (manifest row), for messages.
        modality: resolved; it decodes.
        description: for the progress bar.
        workers: processes that decode; 0 decodes here.
        patience: seconds after which reading one item is given up.
        keep: whether to decode all of them now and hold them in memory, where they fit.

    Raises:
        PairsError: an item cannot be decoded; file and row are named.
    """

    def __init__(
        self,
        files: Sequence[Item],
        wheres: Sequence[str],
        modality: Modality,
        description: str,
        workers: int = 0,
        patience: float = 300.0,
        keep: bool = True,
    ) -> None:
        self.files = list(files)
        self.patience = patience
        self.modality = modality
        self._wheres = list(wheres)
        self._cache: Tensor | None = None  # shared by all subsets
        self._places = torch.arange(len(files))  # in it
        first = self._decode(0) if files and keep else None
        if first is not None and len(files) * first.nbytes <= CACHE_BYTES:
            with track(f"reading {description}", len(files)) as task:
                cache = torch.empty(len(files), *first.shape, dtype=first.dtype)
                for index, item in decoded(self._decode, len(files), workers):
                    if isinstance(item, CrossDistillError):
                        raise item
                    cache[index] = item
                    task.advance()
            self._cache = cache

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        rows: Sequence[int],
        side: Side,
        modality: Modality,
        workers: int = 0,
        patience: float = 300.0,
        keep: bool = True,
    ) -> Items:
        """The items of ``rows`` of ``pairs`` on ``side``; every row must have one."""
        files = []
        for row in rows:
            file = pairs[row].item(side)
            if file is None:
                raise ValueError(f"row {row} ({pairs[row].where}) has no {side}")
            files.append(file)
        wheres = [f"{pairs[row].where}, column {side}" for row in rows]
        return cls(files, wheres, modality, f"{side} items", workers, patience, keep)

    @classmethod
    def of_tensor(cls, values: Tensor, modality: Modality) -> Items:
        """Items that are decoded already, ``(N, *shape)``; grids may be coarser than the modality decodes them."""
        made = cls([], [], modality, "")
        made.files, made._wheres = [Path()] * len(values), [""] * len(values)
        made._cache, made._places = values, torch.arange(len(values))
        return made

    @classmethod
    def like(cls, items: Items, modality: Modality) -> Items:
        """The same decoded items under a modality that differs in augmentation or normalisation alone."""
        if modality.decoding != items.modality.decoding:
            raise ValueError(f"these need another decoding: {items.modality.decoding} and {modality.decoding}")
        twin = cls([], [], modality, "", patience=items.patience)
        twin.files, twin._wheres, twin._cache, twin._places = items.files, items._wheres, items._cache, items._places
        return twin

    def subset(self, positions: Sequence[int]) -> Items:
        """Some of the items, without decoding them again."""
        twin = Items([], [], self.modality, "", patience=self.patience)
        twin.files = [self.files[position] for position in positions]
        twin._wheres = [self._wheres[position] for position in positions]
        twin._cache, twin._places = self._cache, self._places[torch.as_tensor(positions, dtype=torch.long)]
        return twin

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return self._cache[self._places[index]] if self._cache is not None else self._decode(index)

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Several items, stacked ``(B, *shape)``."""
        if self._cache is not None:
            return self._cache[self._places[torch.as_tensor(indices, dtype=torch.long)]]
        return torch.stack([self._decode(index) for index in indices])

    def _decode(self, index: int) -> Tensor:
        try:
            with time_limit(self.patience):
                return self.modality.decode(self.files[index])
        except PairsError as error:
            raise error.at(f"{self._wheres[index]}: {self.files[index]}") from error

    def content_hash(self, index: int) -> str:
        """A short hash of an item's bytes, see :func:`content_hash`.

        Raises:
            PairsError: they cannot be read, or not in time; file and row are named.
        """
        try:
            with time_limit(self.patience):
                return content_hash(self.files[index])
        except OSError as error:
            raise PairsError(
                "This item cannot be read.", where=f"{self._wheres[index]}: {self.files[index]}",
                received=error.strerror,
            ) from error  # fmt: skip
        except PairsError as error:
            raise error.at(f"{self._wheres[index]}: {self.files[index]}") from error


def content_hash(file: Item) -> str:
    """A short hash of an item's bytes: two rows with the same picture under two names have the same."""
    return hashlib.blake2b(file.read_bytes(), digest_size=12).hexdigest()
