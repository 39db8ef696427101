"""``nyu-depth-v2``: the labelled part of NYU Depth v2, 1,449 pictures with depth and dense labels (ECCV 2012).

Layout: ``nyu_depth_v2_labeled.mat`` (MATLAB 7.3) and ``splits.mat`` in one folder; for segmentation beside them
``classMapping40.mat``, and for 13 classes ``class13Mapping.mat`` too. Labels are scene types, groups are scenes without
the letter that counts their recordings (``basement_0001a``).
Checked against a copy of the official page and programs that read the files: the variables, their units and axes, and
1-based indices in ``splits.mat``; 795 and 654 of them; ``mapClass`` and the first field of ``classMapping13``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crossdistill.errors import PairsError
from crossdistill.pairs.field.base import FieldSet, SplitOptions, verify_counts
from crossdistill.pairs.field.field_files import locate, set_root
from crossdistill.pairs.field.matlab import read_mat, whole_numbers
from crossdistill.pairs.field.nyu_arrays import ArrayRow, row_shapes, texts
from crossdistill.pairs.table import Licence, Pair, Split

HOME = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
COUNTS = {"train": (795,), "test": (654,)}
UNLABELLED = 255  # of a mask

_FILE = "nyu_depth_v2_labeled.mat"


class Options(SplitOptions):
    """Settings of the set."""

    depth: Literal["depths", "rawDepths"] = Field(
        "depths", description="with holes filled in, or as the sensor saw it (0: nothing)"
    )
    classes: Literal[13, 40] | None = Field(
        None, description="masks of so many classes, from 0 on; 255 has no label. Default: no masks"
    )


def read(options: Options) -> list[Pair]:
    """One row a picture: 8-bit colours ``(480, 640, 3)``, metres ``(480, 640)``, classes ``(480, 640)``."""
    root = set_root(options.root, HOME)
    file = locate(root, [_FILE], "the labelled pictures", HOME)
    names = ["images", options.depth, "sceneTypes", "scenes", *(["labels"] if options.classes else [])]
    shapes = row_shapes(file, names)
    _check_shapes(file, shapes, options)
    count = shapes["images"][0]
    kinds, scenes = texts(file, "sceneTypes"), texts(file, "scenes")
    for name, values in (("sceneTypes", kinds), ("scenes", scenes)):
        if len(values) != count:
            raise PairsError("A variable has another length than the pictures.", where=f"{file}, {name}",
                             expected=count, received=len(values))  # fmt: skip
    lookup = class_lookup(root, options.classes) if options.classes else None
    splits = _splits(locate(root, ["splits.mat"], "the official split", HOME), count)
    found = {split: sum(each == split for each in splits.values()) for split in ("train", "test")}
    verify_counts("nyu-depth-v2", COUNTS, found, options.verify)
    return [
        Pair(
            source=ArrayRow(file, "images", row),
            target=ArrayRow(file, options.depth, row),
            mask=ArrayRow(file, "labels", row, lookup) if lookup else None,
            label=kinds[row] or None,
            split=splits[row],
            group=re.sub(r"(?<=\d)[a-z]$", "", scenes[row]) or f"row {row}",
            where=f"{file.name}, picture {row + 1}",
        )
        for row in sorted(splits)
    ]


def class_lookup(root: Path, classes: Literal[13, 40]) -> bytes:
    """For each stored label its class; 0 and what no class holds is :data:`UNLABELLED`.

    Raises:
        PairsError: a mapping is missing or no mapping.
    """
    path = locate(root, ["classMapping40.mat"], "the 40 classes", "https://github.com/ankurhanda/nyuv2-meta-data")
    table = _classes(whole_numbers(path, "mapClass"), 40, path)
    if classes == 13:
        path = locate(root, ["class13Mapping.mat"], "the 13 classes", "https://github.com/ankurhanda/nyuv2-meta-data")
        mapping = read_mat(path, "classMapping13")
        if not isinstance(mapping, dict):
            raise PairsError("A variable is no structure.", where=f"{path}, classMapping13")
        coarse = _classes(np.asarray(next(iter(mapping.values()), [])).reshape(-1), 13, path)
        if len(coarse) != 40:
            raise PairsError("The mapping to 13 classes has another length.", where=path, expected="40 numbers",
                             received=len(coarse))  # fmt: skip
        table = np.where(table == UNLABELLED, UNLABELLED, coarse[np.minimum(table, 39)])
    return bytes([UNLABELLED, *table.tolist()])


def _classes(numbers: NDArray[Any], most: int, path: Path) -> NDArray[np.int64]:
    """Class numbers from 1 on as such from 0 on; 0 is none."""
    if numbers.dtype.kind not in "iuf" or numbers.size == 0 or numbers.min() < 0 or numbers.max() > most:
        raise PairsError("A mapping of classes holds other numbers.", where=path, expected=f"0 to {most}",
                         received=f"{numbers.dtype}, {numbers.reshape(-1)[:5].tolist()} ...")  # fmt: skip
    return np.where(numbers == 0, UNLABELLED, numbers.astype(np.int64) - 1)


def _check_shapes(file: Path, shapes: dict[str, tuple[int, ...]], options: Options) -> None:
    images = shapes["images"]
    if len(images) != 4 or images[1] != 3 or images[0] == 0:
        raise PairsError("The pictures have another shape.", where=f"{file}, images", expected="(1449, 3, 640, 480)",
                         received=images)  # fmt: skip
    for name in (options.depth, "labels"):
        if name in shapes and shapes[name] != (images[0], *images[2:]):
            raise PairsError("A variable has another shape than the pictures.", where=f"{file}, {name}",
                             expected=(images[0], *images[2:]), received=shapes[name])  # fmt: skip


def _splits(path: Path, count: int) -> dict[int, Split]:
    """For each picture (from 0 on) its split."""
    found: dict[int, Split] = {}
    names: tuple[tuple[str, Split], ...] = (("trainNdxs", "train"), ("testNdxs", "test"))
    for key, split in names:
        for number in whole_numbers(path, key).tolist():
            if not 1 <= number <= count:
                raise PairsError("The split names a picture that is not there.", where=f"{path}, {key}",
                                 expected=f"numbers from 1 to {count}", received=number)  # fmt: skip
            if number - 1 in found:
                raise PairsError("The split names a picture twice.", where=f"{path}, {key}", received=number)
            found[number - 1] = split
    return found


DATASET = FieldSet(
    name="nyu-depth-v2",
    summary="NYU Depth v2, labelled part: colour -> depth, 13 or 40 classes for segmentation",
    home=HOME,
    licence=Licence(
        name="see the official page", url=HOME,
        attribution="N. Silberman, D. Hoiem, P. Kohli, R. Fergus: Indoor Segmentation and Support Inference from RGBD "
        "Images (ECCV 2012).",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    extra="hdf5",
    target={"modality": "depth"},
)  # fmt: skip
