"""What the finished grid says: one row a distillation, with its distance, its certificates and its errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.theory.beds import Ground, family, ground
from benchmarks.theory.grid import SHOTS, Cell, cells, result, task_of
from crossdistill.advisor.pilot import few_shot
from crossdistill.evaluation.intervals import Floats
from crossdistill.evaluation.probes import LinearProbe, unit
from crossdistill.theory import (
    best_temperature,
    compare_similarities,
    kl_certificate,
    measure_theory,
    rademacher_certificate,
)
from crossdistill.theory.vectors import PairedVectors

TEMPERATURE = 0.1


def rows_of_grid(data: Path) -> list[dict[str, Any]]:
    """Every distillation that is finished, with what the same few labels give alone."""
    finished = [cell for cell in cells() if cell.path.is_file()]
    alone = labels_alone(finished)
    rows, places = [], dict[tuple[str, str], Ground]()
    for cell in finished:
        if cell.objective == "alone" or cell.data not in alone:
            continue
        key = cell.data, cell.teacher
        if key not in places:
            places = {key: ground(data, *key)}
        rows.append(measured(cell, places[key], alone[cell.data]))
    return rows


_NO_SCORES = ("test", "seconds")
_DRAWS = 20  # of the few labels; those of the grid are fewer


def labels_alone(finished: list[Cell]) -> dict[str, dict[str, float]]:
    """What the few labels give without distillation, by set: the mean over seeds, as it is the same for all runs."""
    found: dict[str, list[dict[str, float]]] = {}
    for cell in finished:
        if cell.objective == "alone":
            scores = {name: float(value.mean()) for name, value in result(cell).items() if name not in _NO_SCORES}
            found.setdefault(cell.data, []).append(scores)
    return {name: {key: float(np.mean([one[key] for one in each])) for key in each[0]} for name, each in found.items()}


def measured(cell: Cell, place: Ground, alone: dict[str, float]) -> dict[str, Any]:
    """One row."""
    found = result(cell)
    test = found["test"].numpy()
    vectors = found["vectors"].float().numpy()[test]
    bed = place.bed
    labels = task_of(place).labels[test]
    ids, groups = bed.ids[test], bed.groups[test]
    first = np.isin(groups, np.random.default_rng(0).permutation(np.unique(groups))[: len(np.unique(groups)) // 2])
    closest = best_temperature(bed.teacher[test][first], vectors[first], source_temperature=TEMPERATURE, ids=ids[first])
    rest = ~first
    terms = measure_theory(
        bed.teacher[test][rest], vectors[rest], temperature=closest, source_temperature=TEMPERATURE, ids=ids[rest],
        groups=groups[rest], labels=labels[rest],
    ).to_json()["forms"]["to_teacher"]  # fmt: skip
    same = measure_theory(bed.teacher[test], vectors, temperature=TEMPERATURE, ids=ids, groups=groups).to_json()[
        "forms"
    ]
    chain = next(iter(terms["chains"]), None)
    task = dataclasses.replace(task_of(place), draws=_DRAWS)
    every = found["vectors"].float().numpy()
    accuracy = float(few_shot(every, task, place.train, test, 0).mean())
    better = max(alone["untrained"], alone["scratch"])
    return {
        "set": cell.data, "family": family(cell.data), "teacher": cell.teacher, "objective": cell.objective,
        "pairs": len(found["pairs"]), "seed": cell.seed, "test_items": len(test), "shots": SHOTS,
        "accuracy": accuracy, "error": 1 - accuracy, "alone": better, "gain": accuracy - better,
        **{f"alone_{name}": round(value, 5) for name, value in alone.items()},
        "tv": terms["tv"]["mean"], "temperature": closest, "tv_one_temperature": same["to_teacher"]["tv"]["mean"],
        "tv_within_one_temperature": same["within"]["tv"]["mean"], "certificate": terms["certificates"]["best"],
        "kl": terms["kl"], "entropy": terms["entropy_source"], "source_risk": terms["source_risk"],
        "target_risk": terms["target_risk"], "excess_risk": terms["target_risk"] - terms["source_risk"],
        "bound": terms["source_risk"] + terms["tv"]["mean"], "slack": terms["slack"],
        "certified": None if chain is None else chain["total_certified"],
        **_anchors(bed.teacher[test], vectors, bed.ids[test], labels),
        **_probe(vectors, labels, groups),
        "seconds": float(found["seconds"]),
    }  # fmt: skip


def _anchors(source: Floats, target: Floats, ids: Any, labels: Any) -> dict[str, float]:
    """The soft nearest-neighbour inequality anchor by anchor, at several temperatures."""
    violations, slack, anchors = 0, [], 0
    for temperature in (0.05, TEMPERATURE, 0.3):
        pairs = PairedVectors.of(source, target, ids=ids, labels=labels)
        for form in ("within", "to_teacher"):
            found = compare_similarities(pairs, temperature=temperature, form=form)  # type: ignore[arg-type]
            assert found.error_source is not None
            assert found.error_target is not None
            left = found.error_source + found.tv - found.error_target
            violations += int((left < -1e-9).sum())
            slack.append(left)
            anchors += len(left)
            assert float(found.tv.mean()) <= kl_certificate(float(found.kl.mean())) + 1e-9
    every = np.concatenate(slack)
    return {
        "anchors": anchors, "violations": violations, "median_slack": float(np.median(every)),
        "least_slack": float(every.min()),
    }  # fmt: skip


def _probe(vectors: Floats, labels: Any, groups: Any) -> dict[str, float]:
    """The Rademacher bound of a probe of half of the test groups, one item each, and its error on the others'."""
    order = np.random.default_rng(0).permutation(np.unique(groups, return_index=True)[1])
    fit, rest = order[: len(order) // 2], order[len(order) // 2 :]
    if len(np.unique(labels[fit])) < 2:
        return {}
    probe = LinearProbe(vectors[fit], labels[fit])
    truth = float((probe.predict(vectors[rest]) != labels[rest]).mean())
    bound = rademacher_certificate(unit(vectors[fit]), np.searchsorted(probe.classes, labels[fit]), *probe.linear_map())
    return {"probe_error": truth, "probe_bound": bound.value, "probe_bound_items": len(fit)}
