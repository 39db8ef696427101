"""Drawings that look alike are one group, and no others are."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from crossdistill.pairs import Pair
from crossdistill.pairs.making.likeness import join_alike


def drawn(path: Path, shape: str, colour: str, size: int = 96) -> Path:
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    box = [size * part for part in (0.2, 0.2, 0.8, 0.8)]
    getattr(draw, shape)(box, fill=colour)
    picture.save(path)
    return path


def test_a_copy_on_either_side_joins_groups_and_what_they_hold(tmp_path: Path) -> None:
    disc = [drawn(tmp_path / f"disc-{number}.png", "ellipse", colour) for number, colour in enumerate(("red", "#e11"))]
    ring = drawn(tmp_path / "ring.png", "ellipse", "blue")
    box = drawn(tmp_path / "box.png", "rectangle", "green", size=50)
    lines = [
        drawn(tmp_path / f"line-{number}.png", "rectangle", colour) for number, colour in enumerate(("#000", "#888"))
    ]
    empty = tmp_path / "empty.png"
    Image.new("RGB", (96, 96), "white").save(empty)
    rows = [
        Pair(source=disc[0], target=lines[0], group="a"),
        Pair(source=disc[1], target=empty, group="b"),  # its source is one of a's
        Pair(source=ring, target=empty, group="c"),
        Pair(source=box, target=empty, group="b"),
        Pair(source=empty, target=lines[1], group="d"),  # a target as that of a, but for how dark it is
    ]
    assert [row.group for row in join_alike(rows, ("source",))] == ["a", "a", "c", "a", "d"]
    assert [row.group for row in join_alike(rows, ("source", "target"))] == ["a", "a", "c", "a", "a"]
    assert [row.source for row in join_alike(rows, ("source",))] == [row.source for row in rows]
