"""``sun-rgbd``: SUN RGB-D, 10,335 rooms with depth of four sensors (Song, Lichtenberg and Xiao, CVPR 2015).

Layout, as ``SUNRGBD.zip`` and ``SUNRGBDtoolbox.zip`` unpack into one folder::

    SUNRGBD/kv2/kinect2data/000065_..._rgbf000121-resize/{image/*.jpg,depth/*.png,depth_bfx/*.png,scene.txt}
    SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat

``allsplit.mat`` has cell arrays ``alltrain`` and ``alltest`` of paths such as ``/n/fs/sun3d/data/SUNRGBD/kv2/...``.
Labels are the scene types of ``scene.txt``; groups are the places of ``xtion/sun3ddata``, whose recordings have many
rows; elsewhere each row is a group, although some show the same room.
Checked against the official read-me file, the toolbox's ``read3dPoints.m`` and programs that read the set: the layout,
the paths, the rotated bits, 5,285 and 5,050 rows, and 4,845 and 4,659 of the 19 scene types.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from crossdistill.errors import PairsError
from crossdistill.pairs.field.base import FieldSet, SplitOptions, report_missing, verify_counts
from crossdistill.pairs.field.field_files import files_in, locate, set_root
from crossdistill.pairs.field.matlab import cell_texts
from crossdistill.pairs.field.sun_depth import ShiftedDepth
from crossdistill.pairs.table import Licence, Pair, Split

HOME = "https://rgbd.cs.princeton.edu/"
COUNTS = {"train": (5_285,), "test": (5_050,), "train of the 19 scenes": (4_845,), "test of the 19 scenes": (4_659,)}

# Those with more than 80 rows, by which scene classification on this set is measured.
SCENES_19 = frozenset({
    "bathroom", "bedroom", "classroom", "computer_room", "conference_room", "corridor", "dining_area", "dining_room",
    "discussion_area", "furniture_store", "home_office", "kitchen", "lab", "lecture_theatre", "library", "living_room",
    "office", "rest_space", "study_space",
})  # fmt: skip


class Options(SplitOptions):
    """Settings of the set."""

    depth: Literal["depth_bfx", "depth"] = Field("depth_bfx", description="with holes filled in, or as it was measured")
    farthest: float | None = Field(
        8.0, gt=0, le=65.5, description="metres; what is beyond counts as this far, as in the toolbox; null: no limit"
    )
    scenes: Literal["all", "19"] = Field(
        "all", description="scene types that are labels; with 19, rows of the others stay, without a label"
    )


def read(options: Options) -> list[Pair]:
    """One row a scene of the official split."""
    root = set_root(options.root, HOME)
    data = locate(root, ["SUNRGBD/kv1", "SUNRGBD/kv2", "SUNRGBD/realsense", "SUNRGBD/xtion", "kv1", "kv2", "realsense",
                         "xtion"], "the pictures", HOME).parent  # fmt: skip
    split_file = locate(
        root, ["SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat", "traintestSUNRGBD/allsplit.mat", "allsplit.mat"],
        "the official split", HOME,
    )  # fmt: skip
    listed: dict[str, Split] = {}
    names: tuple[tuple[str, Split], ...] = (("alltrain", "train"), ("alltest", "test"))
    for key, split in names:
        for number, text in enumerate(cell_texts(split_file, key), start=1):
            scene = _scene(text, f"{split_file}, {key}{{{number}}}")
            if scene in listed:
                raise PairsError("The split names a scene twice.", where=f"{split_file}, {key}{{{number}}}",
                                 received=text)  # fmt: skip
            listed[scene] = split
    rows: list[Pair] = []
    missing: list[str] = []
    for scene, split in listed.items():
        image, depth = (_only(data / scene / folder) for folder in ("image", options.depth))
        if isinstance(image, str) or isinstance(depth, str):
            missing.append(image if isinstance(image, str) else str(depth))
        else:
            rows.append(_row(data / scene, scene, image, depth, split, options))
    report_missing("sun-rgbd", "scenes of allsplit.mat", missing, len(listed), options.verify)
    untold = [str(data / row.where / "scene.txt") for row in rows if row.label is None]
    report_missing("sun-rgbd", "labels (scene.txt)", untold, len(rows), options.verify)
    found = Counter(row.split for row in rows)
    verify_counts("sun-rgbd", COUNTS, {split: found[split] for _, split in names}, options.verify)
    if options.scenes == "19":
        rows = [row if row.label in SCENES_19 else replace(row, label=None) for row in rows]
        kept = Counter(row.split for row in rows if row.label is not None)
        counts = {f"{split} of the 19 scenes": kept[split] for _, split in names}
        verify_counts("sun-rgbd", COUNTS, counts, options.verify)
    return rows


def _scene(text: str, where: str) -> str:
    """A path of ``allsplit.mat`` as one below the folder SUNRGBD."""
    parts = [part for part in PurePosixPath(text.rpartition("SUNRGBD/")[2]).parts if part != "/"]
    if len(parts) < 2 or ".." in parts:
        raise PairsError("The split names no scene.", where=where, received=text[:100],
                         expected="a path such as /n/fs/sun3d/data/SUNRGBD/kv1/NYUdata/NYU0001")  # fmt: skip
    return "/".join(parts)


def _only(folder: Path) -> Path | str:
    """The one picture in a folder, or what is wrong with it."""
    files = files_in(folder, [".jpg", ".png"]) if folder.is_dir() else []
    return files[0] if len(files) == 1 else f"{folder} (with {len(files)} pictures instead of one)"


def _row(folder: Path, scene: str, image: Path, depth: Path, split: Split, options: Options) -> Pair:
    place = PurePosixPath(scene).parts
    farthest = None if options.farthest is None else round(options.farthest * 1000)
    return Pair(
        source=image,
        target=ShiftedDepth(depth, farthest),
        label=_label(folder / "scene.txt"),
        split=split,
        group="/".join(place[:3]) if place[:2] == ("xtion", "sun3ddata") else scene,
        where=scene,
    )


def _label(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return stream.read(100).decode("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


DATASET = FieldSet(
    name="sun-rgbd",
    summary="SUN RGB-D: colour -> depth of indoor scenes, scene types",
    home=HOME,
    licence=Licence(
        name="see the official page", url=HOME,
        attribution="S. Song, S. Lichtenberg, J. Xiao: SUN RGB-D (CVPR 2015), with pictures of NYU Depth v2, Berkeley "
        "B3DO and SUN3D.",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    target={"modality": "depth"},
)  # fmt: skip
