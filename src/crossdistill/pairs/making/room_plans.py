"""Which furniture stands where in made-up rooms; rooms of different splits share no furniture."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossdistill.errors import PairsError
from crossdistill.pairs.making.sweethome import Furniture
from crossdistill.pairs.table import SPLITS, Split

_HELD_OUT = 0.15  # of the furniture of each class to val, and as much to test
_IN_TWENTY: tuple[tuple[Split, int], ...] = (("train", 14), ("val", 3), ("test", 3))  # rooms
_SIZES = (0.3, 2.9)  # metres: smaller things stand on no floor, larger ones not on the smallest one
_AREA = (3.0, 4.2)  # metres: the square of floor that things stand on
_PIECES = (5, 8)  # from, to before
_TRIES = 40
_GAP = 0.03  # metres between things
_BACK_TO_WALL = {"cabinet": 0.8, "appliance": 0.8, "sanitary": 0.8, "bed": 0.6, "sofa": 0.5, "table": 0.3}  # how often


@dataclass(frozen=True)
class Placed:
    """A piece of furniture on ``(x, z)`` metres, turned by ``turn`` radians about the vertical."""

    furniture: Furniture
    x: float
    z: float
    turn: float


@dataclass(frozen=True)
class Room:
    """A corner of a room with walls ``x = 0`` and ``z = 0``; its things stand on ``area`` x ``area`` metres."""

    number: int
    split: Split
    area: float
    things: tuple[Placed, ...]


def fits_a_room(furniture: Furniture) -> bool:
    """Whether it is of a class, and of a size that stands in rooms."""
    return furniture.label is not None and _SIZES[0] <= max(furniture.size) <= _SIZES[1]


def pools(furniture: Sequence[Furniture]) -> dict[Split, list[Furniture]]:
    """The furniture that fits into rooms, in three disjoint parts with the same classes, by the hash of its id."""
    classes: dict[str, list[Furniture]] = defaultdict(list)
    for each in furniture:
        if fits_a_room(each):
            classes[each.label or ""].append(each)
    found: dict[Split, list[Furniture]] = {split: [] for split in SPLITS}
    for _, members in sorted(classes.items()):
        members.sort(key=lambda each: hashlib.sha256(each.id.encode()).digest())
        count = max(1, round(_HELD_OUT * len(members))) if len(members) >= len(SPLITS) else 0
        found["val"] += members[:count]
        found["test"] += members[count : 2 * count]
        found["train"] += members[2 * count :]
    return found


def plan_rooms(furniture: Sequence[Furniture], count: int, seed: int) -> list[Room]:
    """``count`` rooms; the first ones are the same however many there are.

    Raises:
        PairsError: there is not enough furniture for each split.
    """
    parts = pools(furniture)
    order = [split for split, share in _IN_TWENTY for _ in range(share)]
    for split in SPLITS:
        if split in order[:count] and not parts[split]:
            raise PairsError(
                "There is too little furniture for rooms.", expected="at least three pieces of a class",
                received=f"none for the split '{split}'", fix="use scenes=objects",
            )  # fmt: skip
    return [_room(number, order[number % len(order)], parts, seed) for number in range(count)]


def _room(number: int, split: Split, parts: dict[Split, list[Furniture]], seed: int) -> Room:
    rng = np.random.default_rng([seed, 1, number])
    area = float(rng.uniform(*_AREA))
    pool = parts[split]
    sizes = Counter(each.label for each in pool)
    weights = np.array([sizes[each.label] ** -0.5 for each in pool])  # so that a class counts by its size's root
    wanted = min(int(rng.integers(*_PIECES)), len(pool))
    chosen = [pool[place] for place in rng.choice(len(pool), wanted, replace=False, p=weights / weights.sum())]
    things: list[Placed] = []
    for each in sorted(chosen, key=lambda each: -each.size[0] * each.size[2]):
        for _ in range(_TRIES):
            placed = _somewhere(each, area, rng)
            if not any(_overlap(placed, other) for other in things):
                things.append(placed)
                break
    return Room(number, split, area, tuple(things))


def _somewhere(furniture: Furniture, area: float, rng: np.random.Generator) -> Placed:
    """A random place, with its back to a wall or free."""
    hangs = furniture.on_wall and furniture.label != "lamp"
    to_wall = hangs or rng.random() < _BACK_TO_WALL.get(furniture.label or "", 0)
    turn = float(np.pi / 2 * rng.integers(2 if to_wall else 4))
    if not to_wall:
        askew = turn + float(rng.normal(0, 0.25))
        turn = askew if 2 * max(reach(furniture, askew)) <= area else turn
    wide, deep = reach(furniture, turn)
    x, z = float(rng.uniform(wide, area - wide)), float(rng.uniform(deep, area - deep))
    if to_wall:  # z = 0, or x = 0 where it is turned
        x, z = (x, deep + 0.01) if turn == 0 else (wide + 0.01, z)
    return Placed(furniture, x, z, turn)


def reach(furniture: Furniture, turn: float) -> tuple[float, float]:
    """Half the sides along x and z of the box around a turned piece of furniture."""
    width, _, depth = furniture.size
    cos, sin = abs(np.cos(turn)), abs(np.sin(turn))
    return float(width * cos + depth * sin) / 2, float(width * sin + depth * cos) / 2


def _overlap(first: Placed, second: Placed) -> bool:
    spans = []
    for placed in (first, second):
        wide, deep = reach(placed.furniture, placed.turn)
        low = placed.furniture.elevation
        spans.append(((placed.x - wide, placed.x + wide), (low, low + placed.furniture.size[1]),
                      (placed.z - deep, placed.z + deep)))  # fmt: skip
    return all(one[0] < other[1] + _GAP and other[0] < one[1] + _GAP for one, other in zip(*spans, strict=True))
