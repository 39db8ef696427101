"""The theory at work in a run: its terms over training on held-out pairs, and all of them for the finished students."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crossdistill.evaluation import EvaluationSet, RowVectors
from crossdistill.evaluation.intervals import Ints
from crossdistill.evaluation.probes import LinearProbe, Vectors, unit
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs import Pairs
from crossdistill.pairs.table import class_numbers
from crossdistill.theory import (
    best_temperature,
    held_out_certificate,
    measure_theory,
    rademacher_certificate,
    theory_curve_point,
)

_TEMPERATURE = 0.1  # of objectives without one
_MOST_WATCHED, _MOST_MEASURED = 500, 3000  # pairs; time grows with their square
_FEWEST_LABELLED, _FEWEST_PROBED, _FEWEST_CALIBRATED = 20, 4, 20
DELTA = 0.05


def theory_temperature(objective: ObjectiveConfig) -> float:
    """The objective's own, so that what is measured is what it works on."""
    value = (objective.model_extra or {}).get("temperature")
    return float(value) if isinstance(value, (int, float)) and value > 0 else _TEMPERATURE


class TheoryWatch:
    """Measures the terms of the theory on the same held-out pairs after an epoch.

    Args:
        pairs: the data set.
        rows: held-out pairs ``(V,)``.
        sources: the teacher's embeddings of their sources ``(V, d)``.
        ids: identity of the sources ``(V,)``.
        temperature: of the teacher's similarity distributions. The student's, over the teacher's vectors, have the
            one that brings them closest: a description of these pairs, in which the inequality holds at any.
    """

    def __init__(self, pairs: Pairs, rows: Sequence[int], sources: Vectors, ids: Ints, temperature: float) -> None:
        labels = np.array(class_numbers(pairs, rows), dtype=np.int64)
        chosen = _labelled_or_all(labels)
        if len(chosen) > _MOST_WATCHED:
            chosen = np.sort(np.random.default_rng(0).permutation(chosen)[:_MOST_WATCHED])
        self._chosen, self._sources, self._ids = chosen, sources[chosen], ids[chosen]
        self._labels = labels[chosen] if (labels[chosen] >= 0).all() else None
        self._temperature = temperature
        self._possible = len(np.unique(self._ids)) >= 2
        groups = np.array(pairs.group_ids, dtype=np.int64)[list(rows)][chosen]
        self._halves = None if self._labels is None else _probe_halves(self._labels, groups)

    def __call__(self, embeddings: Vectors) -> dict[str, float]:
        """``theory_*`` of the student's embeddings of all held-out targets ``(V, d)``."""
        if not self._possible:
            return {}
        vectors = embeddings[self._chosen]
        closest = best_temperature(self._sources, vectors, source_temperature=self._temperature, ids=self._ids)
        found = theory_curve_point(
            self._sources, vectors, temperature=closest, source_temperature=self._temperature, ids=self._ids,
            labels=self._labels, form="to_teacher",
        )  # fmt: skip
        found["theory_temperature"] = closest
        if self._labels is not None and self._halves is not None:
            fit, test = self._halves
            predicted = LinearProbe(vectors[fit], self._labels[fit]).predict(vectors[test])
            found["theory_probe_error"] = float((predicted != self._labels[test]).mean())
        return {name: round(value, 5) for name, value in found.items()}


def theory_results(
    data: EvaluationSet, students: dict[str, RowVectors], teacher: RowVectors, temperature: float, seed: int
) -> dict[str, Any] | None:
    """All terms for each student on the test pairs; None where there are too few.

    Args:
        data: the test bed.
        students: vectors of the targets, the main objective's first.
        teacher: of the sources.
        temperature: of the teacher's similarity distributions. Each student has the one that brings it closest on the
            val pairs, or this one without such.
        seed: of what is drawn.
    """
    rows = data.paired("test")
    labels = np.array(class_numbers(data.pairs, rows.tolist()), dtype=np.int64)
    chosen = _labelled_or_all(labels)
    if len(chosen) > _MOST_MEASURED:
        chosen = np.sort(np.random.default_rng((seed, 17)).permutation(chosen)[:_MOST_MEASURED])
    rows, labels = rows[chosen], labels[chosen]
    ids, groups = data.source_ids[rows], data.groups(rows)
    if len(np.unique(ids)) < 4 or len(np.unique(groups)) < 4:
        return None
    labelled = bool((labels >= 0).all()) and len(np.unique(labels)) >= 2
    sources = teacher.take(rows)
    others = np.random.default_rng((seed, 19)).permutation(data.paired("val"))[:_MOST_WATCHED]
    chosen_there = len(np.unique(data.source_ids[others])) >= _FEWEST_CALIBRATED
    found = {}
    for name, vectors in students.items():
        embeddings = vectors.take(rows)
        own = temperature
        if chosen_there:
            own = best_temperature(
                teacher.take(others), vectors.take(others), source_temperature=temperature, ids=data.source_ids[others]
            )
        found[name] = measure_theory(
            sources, embeddings, temperature=own, source_temperature=temperature, ids=ids, groups=groups,
            labels=labels if labelled else None, students=len(students), delta=DELTA, seed=seed,
        ).to_json()  # fmt: skip
        found[name]["probe"] = _probe_certificates(embeddings, labels, groups, len(students)) if labelled else None
    return {"temperature": temperature, "chosen_on_val": chosen_there, "labelled": labelled, "students": found}


def _probe_certificates(vectors: Vectors, labels: Ints, groups: Ints, students: int) -> dict[str, Any] | None:
    """A linear probe of half of the test groups, which the student never saw: what bounds its error, and the error.

    Both certificates want independent items, so that one item of each group takes part.
    """
    _, alone = np.unique(groups, return_index=True)
    halves = _probe_halves(labels[alone], groups[alone])
    if halves is None:
        return None
    fit, test = (alone[half] for half in halves)
    probe = LinearProbe(vectors[fit], labels[fit])
    wrong = int((probe.predict(vectors[test]) != labels[test]).sum())
    number = np.searchsorted(probe.classes, labels[fit])
    trained = rademacher_certificate(unit(vectors[fit]), number, *probe.linear_map(), delta=DELTA / students)
    held_out = held_out_certificate(wrong, len(test), classes=len(probe.classes), delta=DELTA, students=students)
    return {"error": wrong / len(test), "rademacher": trained.to_json(), "held_out": held_out.to_json()}


def _labelled_or_all(labels: Ints) -> Ints:
    """Positions of the labelled pairs where they tell something, else of all: one set for all of the terms."""
    labelled = np.flatnonzero(labels >= 0)
    if len(labelled) >= _FEWEST_LABELLED and len(np.unique(labels[labelled])) >= 2:
        return labelled
    return np.arange(len(labels))


def _probe_halves(labels: Ints, groups: Ints) -> tuple[Ints, Ints] | None:
    """Positions that a probe is fitted to and tested on: half of the groups each.

    Classes that only the latter has count as errors, as they are ones for anybody who uses the probe.
    """
    order = np.random.default_rng(1).permutation(np.unique(groups))
    first = np.isin(groups, order[: len(order) // 2])
    fit = np.flatnonzero(first)
    test = np.flatnonzero(~first)
    enough = min(len(fit), len(test)) >= _FEWEST_PROBED and len(np.unique(labels[fit])) >= 2
    return (fit, test) if enough else None
