"""The same questions on three small sets that are made here, within a minute: a check that all of it works."""

from __future__ import annotations

import torch

from benchmarks.record import Measurement, below, recorded
from benchmarks.theory import slack
from benchmarks.theory.ranks import rho
from crossdistill.advisor.bed import lay_bed
from crossdistill.advisor.evidence import divide
from crossdistill.advisor.pilot import Budget, few_shot, new_student, train_pilot, vectors_of
from crossdistill.advisor.tasks import labelled_task
from crossdistill.encoders import TeacherConfig, build_teacher
from crossdistill.modalities import parse_modality
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs import PairsConfig, open_pairs
from crossdistill.theory import measure_theory

_PAIRS, _STEPS = 500, 40
_KEEPS = (0.0, 0.7, 1.0)


def run() -> list[Measurement]:
    """Measured TV against error on three distances, and the inequalities on random distributions."""
    source = parse_modality({"modality": "image", "size": 64})
    target = parse_modality({"modality": "image", "size": 32, "channels": 1})
    encoder = build_teacher(TeacherConfig(weights="efficientnet-lite0"), source)
    target = target.resolve(encoder.modality.as_defaults())
    tv, errors, violations = [], [], 0
    for keep in _KEEPS:
        options = {"keep": keep, "nuisance": 0.0, "pairs": _PAIRS, "classes": 4, "side": 32}
        pairs = open_pairs(PairsConfig(builtin="dial", options=options))
        bed = lay_bed(pairs, range(_PAIRS), encoder, target, device=torch.device("cpu"))
        train, test = divide(bed.groups, 0)
        task = labelled_task(bed, train, test, 5, 5)
        assert task is not None
        chosen = task.of(test)
        student = new_student(bed, 0)
        trained = train_pilot(bed, train, ObjectiveConfig(name="cmcd"), Budget(steps=_STEPS), 0, student)
        vectors = vectors_of(trained, bed)
        found = measure_theory(
            bed.teacher[chosen], vectors[chosen], temperature=0.1, labels=task.labels[chosen]
        ).to_json()["forms"]["within"]
        tv.append(found["tv"]["mean"])
        violations += found["slack"] < -1e-9
        errors.append(1 - float(few_shot(vectors, task, train, chosen, 0).mean()))
    measurements = [
        recorded(f"measured TV, keep {keep:g} (reference: few-shot error)", each, error, "")
        for keep, each, error in zip(_KEEPS, tv, errors, strict=True)
    ]
    measurements.append(recorded("rank correlation of TV and error, three distances", rho(tv, errors), 1.0, "rho"))
    measurements.append(below("violations of the soft nearest-neighbour inequality", violations, 0, "of 3"))
    return [*measurements, *slack.run(quick=True)[0]]
