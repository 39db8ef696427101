"""What the finished grid says: one row a distillation, with its distance, its certificates and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.theory.beds import Ground, family, ground
from benchmarks.theory.grid import SHOTS, Cell, cells, result, task_of
from crossdistill.evaluation.intervals import Floats
from crossdistill.evaluation.probes import LinearProbe, unit
from crossdistill.theory import compare_similarities, kl_certificate, measure_theory, rademacher_certificate
from crossdistill.theory.vectors import PairedVectors

TEMPERATURE = 0.1


def rows_of_grid(data: Path) -> list[dict[str, Any]]:
    """Every distillation that is finished, with what the same few labels give alone."""
    finished = [cell for cell in cells() if cell.path.is_file()]
    alone: dict[tuple[str, int], dict[str, float]] = {}
    for cell in finished:
        if cell.objective == "alone":
            found = {name: float(value.mean()) for name, value in result(cell).items() if name not in _NO_SCORES}
            alone[cell.data, cell.seed] = found
    rows, places = [], dict[tuple[str, str], Ground]()
    for cell in finished:
        if cell.objective == "alone" or (cell.data, cell.seed) not in alone:
            continue
        key = cell.data, cell.teacher
        if key not in places:
            places = {key: ground(data, *key)}
        rows.append(measured(cell, places[key], alone[cell.data, cell.seed]))
    return rows


_NO_SCORES = ("test", "seconds")


def measured(cell: Cell, place: Ground, alone: dict[str, float]) -> dict[str, Any]:
    """One row."""
    found = result(cell)
    test = found["test"].numpy()
    vectors = found["vectors"].float().numpy()[test]
    bed = place.bed
    labels = task_of(place).labels[test]
    terms = measure_theory(
        bed.teacher[test], vectors, temperature=TEMPERATURE, ids=bed.ids[test], groups=bed.groups[test], labels=labels
    ).to_json()
    within, to_teacher = terms["forms"]["within"], terms["forms"]["to_teacher"]
    chain = next(iter(within["chains"]), None)
    few_shot = float(found["few_shot"].mean())
    better = max(alone["untrained"], alone["scratch"])
    return {
        "set": cell.data, "family": family(cell.data), "teacher": cell.teacher, "objective": cell.objective,
        "pairs": len(found["pairs"]), "seed": cell.seed, "test_items": len(test), "shots": SHOTS,
        "accuracy": few_shot, "error": 1 - few_shot, "alone": better, "gain": few_shot - better,
        **{f"alone_{name}": round(value, 5) for name, value in alone.items()},
        "tv": within["tv"]["mean"], "tv_to_teacher": to_teacher["tv"]["mean"],
        "certificate": within["certificates"]["best"], "kl": within["kl"], "entropy": within["entropy_source"],
        "source_risk": within["source_risk"], "target_risk": within["target_risk"],
        "bound": within["source_risk"] + within["tv"]["mean"], "slack": within["slack"],
        "certified": None if chain is None else chain["total_certified"],
        **_anchors(bed.teacher[test], vectors, bed.ids[test], labels),
        **_probe(vectors, labels),
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


def _probe(vectors: Floats, labels: Any) -> dict[str, float]:
    """The Rademacher bound of a probe trained on half of the test items, and its error on the others."""
    order = np.random.default_rng(0).permutation(len(labels))
    fit, rest = order[: len(order) // 2], order[len(order) // 2 :]
    rest = rest[np.isin(labels[rest], labels[fit])]
    probe = LinearProbe(vectors[fit], labels[fit])
    truth = float((probe.predict(vectors[rest]) != labels[rest]).mean())
    bound = rademacher_certificate(unit(vectors[fit]), np.searchsorted(probe.classes, labels[fit]), *probe.linear_map())
    return {"probe_error": truth, "probe_bound": bound.value, "probe_bound_items": len(fit)}
