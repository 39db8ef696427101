"""``esc-50``: 2,000 environmental sounds of 50 classes (Piczak, ACM Multimedia 2015).

Layout, as the repository unpacks: ``meta/esc50.csv`` with the columns filename, fold, target, category, esc10,
src_file, take, and ``audio/1-100032-A-0.wav``. The five folds are the official split: one of them is test. Groups are
the recordings that clips were cut from, which no fold separates. There is no other modality: rows have a target alone.
Checked against the official repository: the layout, the columns, 2,000 clips, 50 classes of 40, the licences. That each
fold has 400 clips is the common description of the set, not confirmed there.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, Self

from pydantic import Field, model_validator

from crossdistill.errors import PairsError
from crossdistill.pairs.field.base import FieldSet, SplitOptions, report_missing, verify_counts
from crossdistill.pairs.field.field_files import csv_lines, locate, plain_name, set_root, wrong_line
from crossdistill.pairs.table import Licence, Pair, Split

HOME = "https://github.com/karolpiczak/ESC-50"
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
COUNTS = {"clips": (2_000,), "classes": (50,), "clips of the smallest fold": (400,)}

Fold = Literal[1, 2, 3, 4, 5]


class Options(SplitOptions):
    """Settings of the set."""

    test_fold: Fold = Field(5, description="which fold is test; results are usually the mean over all five")
    val_fold: Fold | None = Field(None, description="which fold is val; default: val is carved out of the others")
    esc10: bool = Field(False, description="only the ten classes of ESC-10, which have the licence CC BY")

    @model_validator(mode="after")
    def _different(self) -> Self:
        if self.val_fold == self.test_fold:
            raise ValueError("val_fold and test_fold are the same fold")
        if self.val_fold is not None and "val" in self.model_fields_set and self.val:
            raise ValueError("give val or val_fold, not both")
        return self

    @property
    def val_share(self) -> float:
        """Of the training rows, that becomes val."""
        return self.val if self.val_fold is None else 0.0


def read(options: Options) -> list[Pair]:
    """One row a clip, without a source."""
    root = set_root(options.root, HOME)
    table = locate(root, ["meta/esc50.csv", "ESC-50-master/meta/esc50.csv"], "meta/esc50.csv", HOME)
    audio = table.parents[1] / "audio"
    records: list[tuple[int, dict[str, str]]] = []
    for number, record in csv_lines(table):
        if number == 1:
            if tuple(record) != COLUMNS:
                raise wrong_line(table, number, ",".join(COLUMNS), ",".join(record)[:100])
            continue
        if len(record) != len(COLUMNS):
            raise wrong_line(table, number, f"{len(COLUMNS)} fields", f"{len(record)} fields")
        row = dict(zip(COLUMNS, record, strict=True))
        plain_name(table, number, row["filename"])
        if row["fold"] not in ("1", "2", "3", "4", "5") or not row["category"] or not row["src_file"]:
            raise wrong_line(table, number, "a fold from 1 to 5, a category and a src_file", ",".join(record)[:100])
        records.append((number, row))
    if not records:
        raise PairsError("A list names nothing.", where=table, expected="one line a clip")
    folds = Counter(row["fold"] for _, row in records)
    found = {"clips": len(records), "classes": len({row["category"] for _, row in records}),
             "clips of the smallest fold": min(folds.values()) if len(folds) == 5 else 0}  # fmt: skip
    verify_counts("esc-50", COUNTS, found, options.verify)
    chosen = [(number, row) for number, row in records if not options.esc10 or row["esc10"].lower() == "true"]
    missing = [f"{table}, line {number}: {audio / row['filename']}" for number, row in chosen
               if not (audio / row["filename"]).is_file()]  # fmt: skip
    report_missing("esc-50", "clips of esc50.csv", missing, len(chosen), options.verify)
    return [
        Pair(
            source=None, target=audio / row["filename"], label=row["category"], split=_split(int(row["fold"]), options),
            group=row["src_file"], where=f"esc50.csv, line {number}",
        )
        for number, row in chosen if (audio / row["filename"]).is_file()
    ]  # fmt: skip


def _split(fold: int, options: Options) -> Split:
    if fold == options.test_fold:
        return "test"
    return "val" if fold == options.val_fold else "train"


DATASET = FieldSet(
    name="esc-50",
    summary="ESC-50: environmental sounds, 50 classes, no other modality",
    home=HOME,
    licence=Licence(
        name="CC BY-NC 3.0", url="https://creativecommons.org/licenses/by-nc/3.0/",
        attribution="K. J. Piczak: ESC, Dataset for Environmental Sound Classification (2015), of Freesound.org clips; "
        "the file LICENSE of the set names each author.",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    extra="audio",
    target={"modality": "audio", "seconds": 5.0},
)  # fmt: skip
