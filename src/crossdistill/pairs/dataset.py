"""Pairs as a PyTorch data set, for training loops that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from crossdistill.errors import ConfigError, PairsError
from crossdistill.files import read_json
from crossdistill.modalities import InputDefaults, Modality, parse_modality
from crossdistill.pairs import PairsConfig, open_pairs
from crossdistill.pairs.items import Items
from crossdistill.pairs.table import Pairs, Side, Split, class_numbers
from crossdistill.validation import validated

Transform = Callable[[Tensor], Any]


class PairDataset(Dataset[dict[str, Any]]):
    """Source and target of each pair as tensors, with label, group and identity. Needs no run and no configuration.

    An item is ``{"source": tensor, "target": tensor, "label": int, "group": int, "id": int}``: the tensors are
    ``(*modality.shape)`` in the modality's compact form (uint8 ``(C, H, W)`` for images) unless ``normalise`` is set;
    ``label`` is the number of the class in ``classes``, -1 where there is none; ``id`` is the same for two rows whose
    source is the same file (or member of one), which are no negatives of each other. A run compares the contents of
    files instead, for which it reads all of them once; here nothing is read before it is asked for, so copies of one
    picture under two names have two ids. PyTorch's default collation stacks all of them.

    Args:
        pairs: what :func:`crossdistill.open_pairs` takes (a manifest, a built-in set's name, a ``pairs`` section as a
            mapping), or pairs that are open.
        split: ``train``, ``val``, ``test``, or None for all rows.
        source: modality of the source, a name, a mapping such as ``{"modality": "image", "size": 96}``, or a
            :class:`~crossdistill.modalities.Modality`. None takes what the data set says of itself, else images.
        target: likewise.
        normalise: give float32, normalised by the modality's mean and deviation, instead of the compact form. What a
            modality leaves open is 0 and 1 here: for an encoder pass its own, ``source=teacher.modality``, which says
            what it was trained with.
        source_transform: called on each source tensor last of all; what it returns is the item.
        target_transform: likewise.
        keep: hold decoded items in memory, where a side's fit into 1 GiB; else each is decoded whenever asked for.

    Attributes:
        pairs: all rows, whatever the split.
        rows: for each item its row in ``pairs``. Rows that lack a side are left out; ``left_out`` counts them.
        classes: names of the classes.
        labels: ``(n,)``, for samplers.
        groups: ``(n,)``, numbers of groups that must stay together in any further split.
        ids: ``(n,)``.

    Raises:
        PairsError: the pairs cannot be read, or there is none in that split; later, an item cannot be decoded.
        ConfigError: a modality is wrong, or leaves its size open.
    """

    def __init__(
        self,
        pairs: Pairs | PairsConfig | Mapping[str, Any] | str | Path,
        split: Split | None = None,
        *,
        source: Modality | Mapping[str, Any] | str | None = None,
        target: Modality | Mapping[str, Any] | str | None = None,
        normalise: bool = False,
        source_transform: Transform | None = None,
        target_transform: Transform | None = None,
        keep: bool = False,
    ) -> None:
        config = pairs if isinstance(pairs, Pairs) else _config(pairs)
        own = {} if isinstance(config, Pairs) else _own_modalities(config)
        self.modalities: dict[Side, Modality] = {
            "source": _resolved(source, own, "source"), "target": _resolved(target, own, "target"),
        }  # fmt: skip
        self.pairs = config if isinstance(config, Pairs) else open_pairs(config)
        self.split = split
        self.normalise = normalise
        self.transforms: dict[Side, Transform | None] = {"source": source_transform, "target": target_transform}
        self.rows = self.pairs.where(split, has=("source", "target"))
        self.left_out = len(self.pairs.where(split)) - len(self.rows)
        if not self.rows:
            raise PairsError(
                "There are no pairs in this split.", where=f"{self.pairs.name}, split {split}",
                expected="rows with both a source and a target", received=f"{len(self.pairs)} rows in all",
            )  # fmt: skip
        self.classes = self.pairs.classes
        self.labels = torch.tensor(class_numbers(self.pairs, self.rows))
        self.groups = torch.tensor([self.pairs.group_ids[row] for row in self.rows])
        numbers: dict[str, int] = {}
        self.ids = torch.tensor([numbers.setdefault(str(self.pairs[row].source), len(numbers)) for row in self.rows])
        self._items: dict[Side, Items] = {
            side: Items.of(self.pairs, self.rows, side, modality, keep=keep)
            for side, modality in self.modalities.items()
        }

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = range(len(self))[index]  # so that negative numbers count from the end, and wrong ones are refused
        return {
            "source": self._side("source", place),
            "target": self._side("target", place),
            "label": int(self.labels[place]),
            "group": int(self.groups[place]),
            "id": int(self.ids[place]),
        }

    def _side(self, side: Side, place: int) -> Any:
        item = self._items[side][place]
        if self.normalise:
            item = self.modalities[side].normalise(item[None])[0]
        change = self.transforms[side]
        return item if change is None else change(item)


def _config(pairs: PairsConfig | Mapping[str, Any] | str | Path) -> PairsConfig:
    return pairs if isinstance(pairs, PairsConfig) else validated(PairsConfig, pairs, "pairs")


def _own_modalities(config: PairsConfig) -> dict[str, Any]:
    """What a data set says of its two modalities: a built-in one, or a manifest with a ``dataset.json`` beside it."""
    if config.builtin is not None:
        from crossdistill.pairs.builtin import builtin_set

        known = builtin_set(config.builtin)
        return {"source": known.source, "target": known.target}
    about = None if config.manifest is None else config.manifest.with_name("dataset.json")
    found: dict[str, Any] = read_json(about) if about is not None and about.is_file() else {}
    return found


def _resolved(given: Modality | Mapping[str, Any] | str | None, own: Mapping[str, Any], side: Side) -> Modality:
    """The modality; an open mean and deviation are 0 and 1, as there is no encoder to take them from."""
    section = own.get(side) or {"modality": "image"} if given is None else given
    if isinstance(section, str):
        section = {"modality": section}
    modality = parse_modality(dict(section) if isinstance(section, Mapping) else section, side)
    try:
        modality.shape  # noqa: B018  # raises while the size is open
    except ValueError as error:
        raise ConfigError(
            "The size of the items is open.", where=side, received=f"modality {modality.modality}",
            expected="a size, as there is no encoder to take it from",
            fix=f'{side}={{"modality": "{modality.modality}", "size": 224}}',
        ) from error  # fmt: skip
    return modality.resolve(InputDefaults(size=modality.shape[-1], mean=(0.0,), std=(1.0,), interpolation="bicubic"))
