"""What the numbers in masks mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import ConfigError, PairsError
from crossdistill.evaluation.segmentation_config import MOST_CLASSES, SegmentationConfig
from crossdistill.files import read_json

_IGNORED = 255


@dataclass(frozen=True)
class Classes:
    """The classes of masks.

    Attributes:
        numbers: as they stand in masks, rising.
        names: of these.
        ignore: numbers that are no class.
        origin: who says so, for messages.
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    ignore: tuple[int, ...]
    origin: str

    def __len__(self) -> int:
        return len(self.numbers)

    def indices(self, stored: NDArray[np.int64], where: str) -> NDArray[np.uint8]:
        """Numbers ``(H, W)`` as indices of the classes, 255 where there is none.

        Raises:
            PairsError: a number is neither a class nor ignored; where it stands is told.
        """
        table = np.full(max(int(stored.max()), *self.numbers, *self.ignore) + 1, -1)
        table[list(self.numbers)] = range(len(self.numbers))
        table[list(self.ignore)] = _IGNORED
        found = table[stored]
        if (found < 0).any():
            row, column = (int(place[0]) for place in np.nonzero(found < 0))
            raise self.unknown(int(stored[row, column]), f"{where}, pixel {column}, {row}")
        indices: NDArray[np.uint8] = found.astype(np.uint8)
        return indices

    def unknown(self, number: int, where: str) -> PairsError:
        """The error about a number that is no class."""
        return PairsError(
            "A mask has a number that is no class.", where=where,
            expected=f"{_ranges(self.numbers)}, as {self.origin} says, or {_ranges(self.ignore)} for no class",
            received=number, fix="correct the mask, or set evaluate.segmentation.classes or .ignore",
        )  # fmt: skip


def find_classes(config: SegmentationConfig, names: Path | None, seen: Mapping[int, Any]) -> Classes:
    """The classes: as the configuration says, else as ``mask_classes.json`` does, else the numbers that occur.

    Args:
        config: the ``evaluate.segmentation`` section.
        names: that file, where there is one.
        seen: numbers that occur in masks.

    Raises:
        PairsError: the file is no mapping of numbers to names, or fewer than two classes or too many occur.
        ConfigError: everything is ignored.
    """
    ignore = tuple(sorted(config.ignore))
    if config.classes is not None:
        known = config.classes
        table = dict(enumerate(known)) if isinstance(known, list) else {n: f"class {n}" for n in range(known)}
        origin = "evaluate.segmentation.classes"
    elif names is not None:
        table, origin = _named(names), names.name
    else:
        table = {number: f"class {number}" for number in sorted(seen)}
        origin = "what occurs in the masks"
    table = {number: name for number, name in table.items() if number not in ignore}
    if len(table) < 2:
        raise ConfigError(
            "There are fewer than two classes in the masks.", where="evaluate.segmentation",
            expected="two or more that are not ignored", received=table or f"ignore: {list(ignore)}",
        )  # fmt: skip
    if len(table) > MOST_CLASSES:
        raise PairsError(
            "The masks have too many classes.", where=origin, expected=f"at most {MOST_CLASSES}", received=len(table),
            fix="are these class numbers, or numbers of instances? Write each pixel's class into the masks",
        )  # fmt: skip
    return Classes(tuple(sorted(table)), tuple(str(table[number]) for number in sorted(table)), ignore, origin)


def _named(path: Path) -> dict[int, str]:
    content = read_json(path)
    if not isinstance(content, dict) or not all(
        key.isdecimal() and isinstance(name, str) for key, name in content.items()
    ):
        raise PairsError("The names of the classes are no mapping.", where=path,
                         expected='{"0": "floor", "1": "wall", ...}')  # fmt: skip
    return {int(number): name for number, name in content.items()}


def _ranges(numbers: tuple[int, ...]) -> str:
    """``0 to 16``, or ``0, 3, 4`` in short."""
    if len(numbers) > 2 and numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers[:12])) + (", ..." if len(numbers) > 12 else "") or "nothing"
