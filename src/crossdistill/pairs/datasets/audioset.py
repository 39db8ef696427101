"""``audioset``: AudioSet, ten seconds of web videos with the labels of an ontology (Gemmeke et al., ICASSP 2017).

``balanced_train_segments.csv``, ``unbalanced_train_segments.csv`` and ``eval_segments.csv`` have three lines of ``#``
and then ``YTID, 30.000, 40.000, "/m/09x0r,/t/dd00088"``; ``class_labels_indices.csv`` (index,mid,display_name) or
``ontology.json`` names the labels. The clips are the user's: sounds (``.wav``, ``.flac``) or videos (``.mp4``), below
``clips``, ``videos``, ``video`` or ``audio``, called after the video alone, or after video and start, in seconds or
milliseconds: ``ID``, ``YID``, ``ID_30``, ``ID_000030``, ``ID_30000``, ``ID_30_40``, ``ID_30000_40000``. A video gives a
source too, its middle frame. Clips that are not there are counted and left out. Groups are the videos.

Segments have several labels and rows one. ``label: first`` takes the first of the list, which is sorted by machine
name and so stands for nothing; ``rarest`` the one with the fewest segments in the training lists that are read, which
tends to be the most specific; ``single`` labels segments of exactly one label alone; ``none`` labels nothing.
Checked against the official page: the files, the columns, the licence, 527 classes, segments of distinct videos. The
page and the heads of the files differ in the number of segments, and either is accepted; that of the unbalanced file's
head (2,041,789) is not confirmed. The ontology has 632 classes, of which the lists use 527.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from crossdistill.errors import PairsError
from crossdistill.pairs.field.base import FieldSet, SplitOptions, verify_counts
from crossdistill.pairs.field.clips import Clips, clip_folders, tell_gone
from crossdistill.pairs.field.field_files import csv_lines, list_lines, locate, set_root, wrong_line
from crossdistill.pairs.table import Licence, Pair, Split

HOME = "https://research.google.com/audioset/download.html"
COUNTS = {
    "balanced_train": (22_160, 22_176), "unbalanced_train": (2_041_789, 2_042_985), "eval": (20_371, 20_383),
    "classes": (527, 632),
}  # fmt: skip


class Options(SplitOptions):
    """Settings of the set."""

    train: Literal["balanced", "unbalanced", "both"] = Field("balanced", description="lists whose segments are train")
    label: Literal["first", "rarest", "single", "none"] = Field(
        "first", description="which of a segment's labels is that of its row, see the page of this set"
    )
    clips: Path | None = Field(None, description="folder of the clips; default: videos, video or clips below root")
    audio: Path | None = Field(None, description="folder of sound files; default: audio below root")
    picture: Literal["frame", "video"] = Field(
        "frame", description="what the source is: one frame, or the video file for the modality video"
    )


@dataclass(frozen=True)
class Segment:
    """One line of a list. ``labels`` are machine names."""

    identity: str
    start: float
    end: float
    labels: tuple[str, ...]
    where: str

    @property
    def names(self) -> list[str]:
        """What its clip may be called, the most exact name first."""
        pairs = [
            (f"{self.start:.0f}", f"{self.end:.0f}"),
            (f"{self.start:06.0f}", f"{self.end:06.0f}"),
            (f"{self.start * 1000:.0f}", f"{self.end * 1000:.0f}"),
            (f"{self.start:.3f}", f"{self.end:.3f}"),
        ]
        exact = [f"{self.identity}_{start}_{end}" for start, end in pairs]
        return [*exact, *(f"{self.identity}_{start}" for start, _ in pairs), self.identity, f"Y{self.identity}"]


def read(options: Options) -> list[Pair]:
    """One row a segment whose clip is there."""
    root = set_root(options.root, HOME)
    displayed = _display_names(root)
    clips = Clips.below(*clip_folders(root, options.clips, None, options.audio))
    kinds = ("balanced", "unbalanced") if options.train == "both" else (options.train,)
    lists: dict[str, Split] = {**{f"{kind}_train": "train" for kind in kinds}, "eval": "test"}
    segments = {name: _segments(locate(root, [f"{name}_segments.csv"], f"{name}_segments.csv", HOME), displayed)
                for name in lists}  # fmt: skip
    found = {name: len(each) for name, each in segments.items()}
    verify_counts("audioset", COUNTS, {**found, "classes": len(displayed)}, options.verify)
    sizes = Counter(label for name in lists if lists[name] == "train" for each in segments[name]
                    for label in each.labels)  # fmt: skip
    rows: list[Pair] = []
    gone: list[str] = []
    for name, split in lists.items():
        for segment in segments[name]:
            source, target = clips.find(segment.names, options.picture)
            if target is None:
                gone.append(segment.identity)
                continue
            label = _label(segment.labels, options.label, sizes)
            rows.append(
                Pair(
                    source=source, target=target, label=None if label is None else displayed[label], split=split,
                    group=segment.identity, where=segment.where,
                )
            )  # fmt: skip
    tell_gone("audioset", gone, sum(found.values()))
    return rows


def _label(labels: tuple[str, ...], rule: str, sizes: Counter[str]) -> str | None:
    if rule == "none" or (rule == "single" and len(labels) > 1):
        return None
    return min(labels, key=lambda label: (sizes[label], label)) if rule == "rarest" else labels[0]


def _segments(path: Path, displayed: dict[str, str]) -> list[Segment]:
    expected = 'YTID, start seconds, end seconds, "label,label"'
    found: dict[str, Segment] = {}
    for number, record in csv_lines(path):
        if len(record) != 4:
            raise wrong_line(path, number, expected, f"{len(record)} fields")
        identity, start, end = (each.strip() for each in record[:3])
        labels = tuple(label.strip() for label in record[3].split(","))
        numbers = all(re.fullmatch(r"\d{1,6}(\.\d+)?", each, re.ASCII) for each in (start, end))
        if not re.fullmatch(r"[\w-]+", identity, re.ASCII) or not numbers or float(end) <= float(start):
            raise wrong_line(path, number, expected, ", ".join(record)[:100])
        if unknown := [label for label in labels if label not in displayed]:
            raise wrong_line(path, number, "labels that class_labels_indices.csv or ontology.json names", unknown[0])
        if identity in found:
            raise wrong_line(path, number, "each video once", f"{identity}, as in {found[identity].where}")
        found[identity] = Segment(identity, float(start), float(end), labels, f"{path.name}, line {number}")
    return list(found.values())


def _display_names(root: Path) -> dict[str, str]:
    """For each machine name what people call it."""
    path = locate(root, ["class_labels_indices.csv", "ontology.json", "ontology/ontology.json"],
                  "the names of its labels", HOME)  # fmt: skip
    if path.suffix == ".json":
        text = "\n".join(line for _, line in list_lines(path))
        try:
            return {str(entry["id"]): str(entry["name"]) for entry in json.loads(text)}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PairsError("The ontology cannot be read.", where=path, expected="a list of objects with id and name",
                             received=error) from error  # fmt: skip
    names: dict[str, str] = {}
    for number, record in csv_lines(path):
        if len(record) != 3 or not record[1] or not record[2]:
            raise wrong_line(path, number, "index,mid,display_name", ",".join(record)[:100])
        if number > 1 or record[1] != "mid":
            names[record[1]] = record[2]
    return names


DATASET = FieldSet(
    name="audioset",
    summary="AudioSet: sounds of web videos, 527 classes, with a frame where the clips are videos",
    home=HOME,
    licence=Licence(
        name="CC BY 4.0 (the lists), CC BY-SA 4.0 (the ontology); videos remain with their owners",
        url="https://creativecommons.org/licenses/by/4.0/",
        attribution="J. F. Gemmeke et al.: Audio Set (ICASSP 2017), Google.",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    extra="audio,video",
    target={"modality": "audio", "seconds": 10.0},
)
