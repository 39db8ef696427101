"""Stage 3 on a run folder: every subject through every protocol, into ``metrics.json`` and ``pictures/``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crossdistill import ranks
from crossdistill.console import say
from crossdistill.encoders import Encoder
from crossdistill.encoders.config import NONE, RANDOM
from crossdistill.errors import PairsError, TrainingError
from crossdistill.evaluation import (
    EvaluationSet,
    Outcome,
    RowVectors,
    Subject,
    difference,
    embed_items,
    measure,
)
from crossdistill.files import write_json
from crossdistill.pairs import Side
from crossdistill.pipeline.environment import timed
from crossdistill.pipeline.labelled_training import describe_recognition, train_on_labels
from crossdistill.pipeline.outcomes import write_outcomes
from crossdistill.pipeline.segmenting import Segmentation, describe_segmentation, segment_run
from crossdistill.pipeline.showcase import describe_pairs, embedding_map, example_pairs, retrieval_gallery
from crossdistill.pipeline.stages import fresh_student, load_student, students_of
from crossdistill.pipeline.theory_terms import theory_results, theory_temperature
from crossdistill.pipeline.trained_controls import trained_controls
from crossdistill.pipeline.views import augmented_pairs
from crossdistill.pipeline.work import Run, TeacherSpace
from crossdistill.training import read_epochs

FORMAT = 3


@dataclass(frozen=True)
class Measurements:
    """What an evaluation measured, and what it needed for it.

    Attributes:
        data: the test bed.
        teacher: the teacher's vectors of source items.
        students: vectors of target items by each student of the run.
        distilled: the main student; untrained where only controls were measured.
        outcomes: of every subject, the main student first.
        segmentation: of those that have feature maps; None where it is not measured.
    """

    data: EvaluationSet
    teacher: RowVectors
    students: dict[str, RowVectors]
    distilled: Encoder
    outcomes: list[Outcome]
    segmentation: Segmentation | None = None


def run_evaluation(run: Run, space: TeacherSpace) -> None:
    """Measures everything and writes ``metrics.json``."""
    with timed(run.folder, "evaluate"):
        say("evaluating")
        measured = measure_run(run, space)

        def write() -> None:
            metrics = _assemble(run, space, measured)
            temperature, seed = theory_temperature(run.config.objective), run.config.train.seed
            metrics["theory"] = theory_results(measured.data, measured.students, measured.teacher, temperature, seed)
            write_outcomes(run.folder.outcomes, measured.outcomes)
            write_json(run.folder.metrics, metrics)

        ranks.first_does(write)


def measure_run(run: Run, space: TeacherSpace, *, controls_alone: bool = False) -> Measurements:
    """Runs the protocols of ``run.evaluate`` on the students and the controls, and writes nothing.

    Args:
        run: with finished students, unless only controls are wanted.
        space: of its teacher.
        controls_alone: leave the students out.
    """
    data = EvaluationSet(run.pairs, space.ids.numpy())
    teacher_rows = RowVectors(np.array(space.rows, dtype=np.int64), *(2 * (space.embeddings[:].numpy(),)))
    students: dict[str, RowVectors] = {}
    encoders: dict[str, Encoder] = {}
    if controls_alone:
        distilled = _untrained(run, space, random_weights=False)
    else:
        encoders = {
            objective.label: load_student(run, place) for objective, place in students_of(run.config, run.folder)
        }
        distilled = encoders[run.config.objective.label]
        students = {name: _embed_target(run, encoder) for name, encoder in encoders.items()}
    # Probes run on one processor; the other ranks have done their part by embedding.
    outcomes = [
        _measured(run, subject, data, teacher_rows)
        for subject in [*(_trained(run, students) if students else ()), *_controls(run, space, teacher_rows)]
    ]
    train_on_labels(run, data, distilled, lambda: _untrained(run, space, random_weights=True), outcomes)
    segmentation = segment_run(run, encoders, lambda drawn: _untrained(run, space, random_weights=drawn), outcomes)
    return Measurements(data, teacher_rows, students, distilled, outcomes, segmentation)


def _measured(run: Run, subject: Subject, data: EvaluationSet, teacher: RowVectors) -> Outcome:
    empty = Outcome(name=subject.name, role=subject.role, description=subject.description)
    found = ranks.first_does(lambda: measure(subject, data, teacher, run.evaluate, run.config.train.seed))
    return empty if found is None else found


def is_current(run: Run, metrics: dict[str, Any]) -> bool:
    """Whether ``metrics`` were made by this version with the present ``evaluate`` section."""
    same = metrics.get("settings") == run.config.evaluate.model_dump(mode="json")
    return bool(same and metrics.get("format") == FORMAT)


def _embed_target(run: Run, encoder: Encoder) -> RowVectors:
    """Vectors of all target items."""
    rows = sorted(run.pairs.where(has=("target",)))
    items = run.items(rows, "target", encoder.modality)
    embeddings, features = embed_items(encoder, items, run.device)
    if not np.isfinite(embeddings).all():
        raise TrainingError(
            "The student gives embeddings that are not finite.", where=run.folder.root,
            received=f"{int((~np.isfinite(embeddings)).any(axis=1).sum())} of {len(embeddings)} items",
            fix="lower train.lr, or set train.clip_norm",
        )  # fmt: skip
    return RowVectors(np.array(rows, dtype=np.int64), embeddings, features)


def _trained(run: Run, students: dict[str, RowVectors]) -> list[Subject]:
    subjects = []
    for objective, _ in students_of(run.config, run.folder):
        main = objective.label == run.config.objective.label
        subjects.append(
            Subject(
                name=objective.label,
                role="objective" if main else "baseline",
                description=f"student distilled with {objective.label}",
                side="target",
                shared=True,
                vectors=students[objective.label],
            )
        )
    return subjects


def _controls(run: Run, space: TeacherSpace, teacher_rows: RowVectors) -> list[Subject]:
    """The controls but ``supervised``; those that cannot be had here are noted in ``run.left_out``."""
    subjects: list[Subject] = []

    def add(name: str, description: str, vectors: RowVectors, side: Side = "target", shared: bool = True) -> None:
        subjects.append(
            Subject(name=name, role="control", description=description, side=side, shared=shared, vectors=vectors)
        )

    wanted = run.evaluate.controls
    if "random_student" in wanted:
        if run.given_student is not None:
            run.left_out["random_student"] = "the student is a module of your own, whose weights we cannot draw"
        else:
            student = _untrained(run, space, random_weights=True)
            add("random_student", "student of random weights", _embed_target(run, student))
    starts_random = run.given_student is None and run.config.student.weights in (NONE, RANDOM)
    if "initial_student" in wanted and not starts_random:  # else it is the random student
        student = _untrained(run, space, random_weights=False)
        add("initial_student", "student before distillation", _embed_target(run, student))
    if "teacher_on_target" in wanted:
        if run.config.source.modality != run.config.target.modality:
            run.left_out["teacher_on_target"] = "the teacher cannot read the target's modality"
        else:
            try:
                vectors = _embed_target(run, space.teacher.encoder)
            except PairsError as error:  # the student's modality reads them: vectors of another width, other bands
                run.left_out["teacher_on_target"] = f"the teacher cannot read the target's items: {error.problem}"
            else:
                if run.config.teacher.center:
                    # Centred by the mean of the target items it is given: the best that training-free use can get.
                    mean = vectors.take(run.pairs.where("train", has=("target",))).mean(axis=0)
                    vectors = RowVectors(vectors.rows, vectors.embeddings - mean, vectors.features)
                add("teacher_on_target", "teacher applied to the target as it is", vectors)
    if "teacher_on_source" in wanted:
        add("teacher_on_source", "teacher on the source (the ceiling)", teacher_rows, side="source", shared=False)
    subjects += trained_controls(run, space, lambda encoder: _embed_target(run, encoder))
    return subjects


def _untrained(run: Run, space: TeacherSpace, *, random_weights: bool) -> Encoder:
    rows = run.pairs.where("train", has=("source", "target"))
    return fresh_student(run, rows, space.teacher.encoder, random_weights=random_weights)[0]


def _assemble(run: Run, space: TeacherSpace, measured: Measurements) -> dict[str, Any]:
    data, teacher, distilled, outcomes = measured.data, measured.teacher, measured.distilled, measured.outcomes
    student = measured.students[run.config.objective.label]
    main = outcomes[0]
    comparisons = [
        {"metric": metric, "first": main.name, "second": other.name,
         "difference": difference(main.metrics[metric], other.metrics[metric]).to_json()}
        for other in outcomes[1:]
        for metric in main.metrics
        if metric in other.metrics and not metric.endswith("median_rank") and other.name != "teacher_on_source"
        if main.metrics[metric].pairable and other.metrics[metric].pairable
    ]  # fmt: skip
    return {
        "format": FORMAT,
        "settings": run.config.evaluate.model_dump(mode="json"),
        "pairs": {**describe_pairs(run.pairs), "skipped": run.skipped},
        "teacher": _describe(space.teacher.encoder),
        "student": _describe(distilled),
        "left_out": run.left_out,
        "recognition": describe_recognition(data, run.evaluate, main),
        "outcomes": [outcome.to_json() for outcome in outcomes],
        "comparisons": comparisons,
        "curves": read_epochs(run.folder.log),
        "examples": example_pairs(run),
        "augmentation": augmented_pairs(run, space, distilled.modality),
        "gallery": retrieval_gallery(run, data, student, teacher),
        "map": embedding_map(run, data, student, teacher),
        "segmentation": describe_segmentation(run, measured.segmentation),
    }


def _describe(encoder: Encoder) -> dict[str, Any]:
    return {
        **encoder.architecture.to_json(),
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "origin": encoder.origin,
        "preprocessing": encoder.modality.model_dump(mode="json", by_alias=True),
    }
