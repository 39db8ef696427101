"""The advisor's evidence on every set and teacher of the grid, from a few hundred training pairs; each is kept.

python -m benchmarks.theory.advice --data FOLDER [--part I/N]
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.theory import parts as pieces
from benchmarks.theory.beds import MOST_TRAIN, REAL, SETS, TEACHERS, WORK, ground, open_set, sample, teacher_encoder
from crossdistill.advisor.bed import Bed
from crossdistill.advisor.evidence import AdviseSettings, gather_evidence
from crossdistill.evaluation.intervals import Ints
from crossdistill.files import write_json
from crossdistill.pairs.items import Items

PAIRS, SEEDS, SOURCES = 400, (0, 1), 128


def trials() -> Iterator[tuple[str, str, int]]:
    """Set, teacher and seed of each."""
    for seed in SEEDS:
        for teacher in TEACHERS:
            if seed == 0 or teacher == "imagenet":
                names = SETS[:8] if teacher == "imagenet" else SETS[:8:2]
                yield from ((name, teacher, seed) for name in (*REAL, *names))


def kept_at(name: str, teacher: str, seed: int) -> Path:
    """Where the evidence is kept."""
    return WORK / "advice" / f"{name}-{teacher}-{seed}.json"


def part_of(bed: Bed, rows: Ints) -> Bed:
    """A bed of some of the pairs alone."""
    arrays = {name: getattr(bed, name)[rows] for name in ("rows", "teacher", "ids", "groups", "labels")}
    shown = None if bed.shown is None else bed.shown[rows]
    return dataclasses.replace(bed, targets=bed.targets.subset(rows.tolist()), shown=shown, **arrays)


def look(data: Path, name: str, teacher: str, seed: int) -> None:
    """Gathers the evidence and keeps it."""
    started = time.monotonic()
    place = ground(data, name, teacher)
    chosen = np.sort(np.random.default_rng((seed, 11)).permutation(place.train)[:PAIRS])
    bed = part_of(place.bed, chosen)
    pairs, _, _ = open_set(data, name)
    encoder = teacher_encoder(data, name, teacher)
    rows = bed.rows[: SOURCES * 2]
    assert set(rows.tolist()) <= set(sample(pairs, "train", MOST_TRAIN))
    _, first = np.unique(bed.ids[: len(rows)], return_index=True)
    sources = Items.of(pairs, rows[first].tolist(), "source", encoder.modality)
    found = gather_evidence(bed, encoder, sources, bed.groups[first], AdviseSettings(pairs=PAIRS, seed=seed))
    content = {"set": name, "teacher": teacher, "seed": seed, "seconds": round(time.monotonic() - started, 1)}
    write_json(kept_at(name, teacher, seed), {**content, "evidence": found.to_json()})


def work_through(data: Path, number: int = 0, parts: int = 1) -> None:
    """Does what is missing of the ``number``-th of so many parts."""
    pieces.work_through(trials(), lambda trial: kept_at(*trial), lambda trial: look(data, *trial), number, parts)


if __name__ == "__main__":
    pieces.run_part(__doc__, work_through)
