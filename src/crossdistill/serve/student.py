"""A student of a run, ready to answer: vectors of all that can be found, and what was measured on held-out items."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crossdistill.encoders import has_encoder, load_encoder
from crossdistill.evaluation import ranks
from crossdistill.evaluation.probes import Ints, Vectors
from crossdistill.modalities import Modality
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs import Pairs, Side, Split
from crossdistill.pairs.table import class_numbers
from crossdistill.pipeline import CrossModalModel, RunConfig, RunFolder, load, open_run
from crossdistill.pipeline.own_pairs import own_pairs
from crossdistill.pipeline.stages import students_of
from crossdistill.serve.banked import banked
from crossdistill.serve.certainty import LOOKED_AT, Familiarity, PartnerCertainty
from crossdistill.serve.gallery import Gallery, Shelf, own_gallery, shelved
from crossdistill.serve.labels import Labelled, Labeller, make_labeller
from crossdistill.serve.opening import check_gallery, open_gallery
from crossdistill.serve.place import Map

SIDES: tuple[Side, Side] = ("source", "target")
_HELD_OUT: tuple[Split, ...] = ("val", "test")
_MOST_HELD_OUT = 2000  # queries that calibration looks at
_EXAMPLES = 12
_VALUES = 1 << 24  # similarities in memory at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Student:
    """What a query is asked of.

    Attributes:
        id: for addresses, such as ``demo`` or ``demo.l2``.
        run: name of the run's folder.
        objective: the label of what it was distilled with.
        role: ``objective`` or ``baseline``.
        model: the encoders.
        own: the run's own items of each modality.
        sources: the source items that are found: the run's own, or a gallery of the user's.
        labeller: None where labels are too few.
        partners: for queries of each modality.
        familiarity: likewise.
        trained: whether each of the own items was trained on, ``(N,)``.
        map: of the source items.
        examples: positions of some test items of each modality.
        version: of the addresses of its pictures and sounds, another one at each start: browsers keep what they have
            seen, and another gallery may stand behind the same number.
    """

    id: str
    run: str
    objective: str
    role: str
    model: CrossModalModel
    own: dict[Side, Shelf]
    sources: Shelf
    labeller: Labeller | None
    partners: dict[Side, PartnerCertainty]
    familiarity: dict[Side, Familiarity]
    trained: dict[Side, np.ndarray[tuple[int], np.dtype[np.bool_]]]
    map: Map
    examples: dict[Side, list[int]] = field(default_factory=dict)
    version: str = field(default_factory=lambda: secrets.token_hex(6))

    def modality(self, side: Side) -> Modality:
        """How items of a side are read."""
        return self.model.encoder(side).modality

    def shelf(self, side: Side) -> Shelf:
        """Where items of a side are found."""
        return self.sources if side == "source" else self.own["target"]


def other(side: Side) -> Side:
    """The other modality."""
    return "target" if side == "source" else "source"


def load_students(runs: Sequence[Path], gallery: Path | None, device: str) -> list[Student]:
    """All students of some runs, the main one of each run first, with everything that is found embedded.

    Raises:
        RunFolderError: a folder is no finished run, or keeps no copy of its teacher, or an index is of another
            teacher.
        PairsError: items of a run, or of the gallery, cannot be read, or the gallery is none.
        ConfigError: an index holds target items.
    """
    if gallery is not None:
        check_gallery(gallery)
    found: list[Student] = []
    for root in runs:
        found.extend(_students(root, gallery, device, {student.id for student in found}))
    return found


def _students(root: Path, gallery: Path | None, device: str, taken: set[str]) -> list[Student]:
    main = load(root, device=device)
    main.encoder("source")  # its absence is told before anything long begins
    folder, config = open_run(root)
    pairs = own_pairs(folder)
    name, identity = root.resolve().name, _unused(_slug(root.resolve().name), taken)
    items, position = {}, {}
    for side in SIDES:
        title = f"the run's own {side} items"
        items[side], position[side] = own_gallery(pairs, side, main.encoder(side).modality, title)
    teacher = shelved(main, items["source"], f"source items of {name}", banked(main, config, items["source"]))
    sources = teacher if gallery is None else open_gallery(gallery, main)
    seen = Map(sources, config.train.seed)
    return [
        _student(
            _Run(pairs, config, position), model, teacher, sources, seen, items["target"], objective,
            identity=identity if number == 0 else f"{identity}.{_slug(objective.label)}", name=name,
            role="baseline" if number else "objective",
        )
        for number, (objective, model) in enumerate(_models(main, config, folder))
    ]  # fmt: skip


def _models(
    main: CrossModalModel, config: RunConfig, folder: RunFolder
) -> list[tuple[ObjectiveConfig, CrossModalModel]]:
    found = []
    for number, (objective, place) in enumerate(students_of(config, folder)):
        if number == 0:
            found.append((objective, main))
        elif has_encoder(place):
            encoders = {"source": main.encoder("source"), "target": load_encoder(place)}
            found.append((objective, CrossModalModel(folder, encoders, main.device)))  # type: ignore[arg-type]
    return found


@dataclass(frozen=True)
class _Run:
    pairs: Pairs
    config: RunConfig
    position: dict[Side, dict[int, int]]

    def rows(self, splits: Sequence[Split], has: Sequence[Side], labelled: bool | None = None) -> Ints:
        found = [row for split in splits for row in self.pairs.where(split, has=has, labelled=labelled)]
        return np.array(found, dtype=np.int64)

    def places(self, rows: Ints, side: Side) -> Ints:
        return np.array([self.position[side][int(row)] for row in rows], dtype=np.int64)

    def groups(self, rows: Ints) -> Ints:
        return np.array(self.pairs.group_ids, dtype=np.int64)[rows]

    def labelled(self, splits: Sequence[Split], side: Side, shelf: Shelf) -> Labelled:
        rows = self.rows(splits, (side,), labelled=True)
        labels = np.array(class_numbers(self.pairs, rows.tolist()), dtype=np.int64)
        return Labelled(shelf.vectors[self.places(rows, side)], labels, self.groups(rows))


def _student(
    run: _Run, model: CrossModalModel, teacher: Shelf, sources: Shelf, seen: Map, targets: Gallery,
    objective: ObjectiveConfig, *, identity: str, name: str, role: str,
) -> Student:  # fmt: skip
    own: dict[Side, Shelf] = {
        "source": teacher,
        "target": shelved(model, targets, f"target items, {objective.label}"),
    }
    unlabelled = {side: own[side].vectors[run.places(run.rows(("train",), (side,)), side)] for side in SIDES}
    held_out = {side: run.labelled(_HELD_OUT, side, own[side]) for side in SIDES}
    labeller = make_labeller(
        run.pairs.classes, run.labelled(("train",), "source", teacher), unlabelled, held_out
    )  # fmt: skip
    seed = run.config.train.seed
    return Student(
        id=identity, run=name, objective=objective.label, role=role, model=model, own=own, sources=sources,
        labeller=labeller,
        partners={side: _partners(run, own, side, seed) for side in SIDES},
        familiarity={side: _familiarity(run, own[side].vectors, side, seed) for side in SIDES},
        trained={side: _trained(run, own[side], side) for side in SIDES},
        map=seen, examples={side: _examples(run, side, seed) for side in SIDES},
    )  # fmt: skip


def _partners(run: _Run, own: dict[Side, Shelf], side: Side, seed: int) -> PartnerCertainty:
    """Held-out queries of one side against all own items of the other."""
    rows = np.random.default_rng(seed).permutation(run.rows(_HELD_OUT, SIDES))[:_MOST_HELD_OUT]
    if len(rows) == 0:
        return PartnerCertainty(np.empty((0, 1), dtype=np.float32), np.empty(0, dtype=np.int64), rows)
    queries, shelf = own[side].vectors[run.places(rows, side)], own[other(side)]
    partner = run.places(rows, other(side))
    _, similarity = shelf.nearest(queries, LOOKED_AT)
    everything = np.arange(len(shelf.vectors))
    found = np.concatenate([
        ranks(queries[part], shelf.vectors, partner[part], everything) for part in _parts(len(rows), len(everything))
    ])  # fmt: skip
    return PartnerCertainty(similarity, found, run.groups(rows))


def _familiarity(run: _Run, vectors: Vectors, side: Side, seed: int) -> Familiarity:
    train = np.unique(run.places(run.rows(("train",), (side,)), side))
    held = np.unique(run.places(run.rows(_HELD_OUT, (side,)), side))
    held = np.random.default_rng(seed).permutation(held)[:_MOST_HELD_OUT]
    if len(train) == 0 or len(held) == 0:
        return Familiarity(np.empty(0, dtype=np.float32))
    known = vectors[train]
    return Familiarity(
        np.concatenate([(vectors[held[part]] @ known.T).max(axis=1) for part in _parts(len(held), len(train))])
    )


def _parts(queries: int, items: int) -> list[slice]:
    """Queries in parts, each of which is compared with all items in bounded memory."""
    step = max(1, _VALUES // max(items, 1))
    return [slice(start, start + step) for start in range(0, queries, step)]


def _trained(run: _Run, shelf: Shelf, side: Side) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    mask = np.zeros(len(shelf.gallery), dtype=np.bool_)
    mask[run.places(run.rows(("train",), (side,)), side)] = True
    return mask


def _examples(run: _Run, side: Side, seed: int) -> list[int]:
    """Test items to try, of as many labels as there are; chosen by the seed, not by how well they do."""
    rows = run.rows(("test",), (side,))
    if len(rows) == 0:
        rows = run.rows(("train",), (side,))
    order = np.random.default_rng(seed).permutation(rows)
    first: dict[str, int] = {}
    for row in order:
        first.setdefault(run.pairs[int(row)].label or "", int(row))
    chosen = list(dict.fromkeys([*first.values(), *(int(row) for row in order)]))[:_EXAMPLES]
    return list(dict.fromkeys(run.position[side][row] for row in chosen))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-") or "run"


def _unused(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found
