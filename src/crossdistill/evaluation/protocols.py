"""Stage 3 on frozen vectors: k-NN, linear and few-shot probes, retrieval, zero-shot."""

from __future__ import annotations

import numpy as np

from crossdistill.evaluation.config import EvaluateConfig
from crossdistill.evaluation.embedding import EvaluationSet, RowVectors
from crossdistill.evaluation.intervals import Estimate, proportion
from crossdistill.evaluation.probes import LinearProbe, few_shot_rows, knn_predictions, unit
from crossdistill.evaluation.retrieval import ranks, recall
from crossdistill.evaluation.subject import Outcome, Subject


def measure(
    subject: Subject, data: EvaluationSet, teacher: RowVectors | None, config: EvaluateConfig, seed: int
) -> Outcome:
    """Runs all protocols of ``config`` that need no training of networks.

    Args:
        subject: what to measure.
        data: the test bed.
        teacher: the teacher's vectors of source items; needed for retrieval and zero-shot.
        config: the ``evaluate:`` section.
        seed: of the few-shot draws.
    """
    outcome = Outcome(name=subject.name, role=subject.role, description=subject.description)
    teacher = teacher if subject.sources is None else subject.sources
    if "knn" in config.protocols:
        outcome.metrics["knn"] = _knn(subject, data, config)
    if "linear" in config.protocols:
        outcome.metrics["linear"] = _linear(subject, data, config)
        for shots in config.shots:
            outcome.metrics[f"linear_{shots}_shot"] = _few_shot(subject, data, config, shots, seed)
    for protocol, run in (("retrieval", _retrieval), ("zero_shot", _zero_shot)):
        if protocol not in config.protocols:
            continue
        if not subject.shared or teacher is None:
            outcome.skipped[protocol] = "its vectors are not compared with the teacher's"
        else:
            outcome.metrics.update(run(subject, data, teacher))
    return outcome


def _knn(subject: Subject, data: EvaluationSet, config: EvaluateConfig) -> Estimate:
    train, test = (data.rows(split, subject.side, labelled=True) for split in ("train", "test"))
    predicted = knn_predictions(
        subject.vectors.take(train, config.representation),
        data.labels(train),
        subject.vectors.take(test, config.representation),
        config.neighbours,
    )
    return proportion((predicted == data.labels(test)).astype(np.float64), data.groups(test))


def _linear(subject: Subject, data: EvaluationSet, config: EvaluateConfig) -> Estimate:
    train, test = (data.rows(split, subject.side, labelled=True) for split in ("train", "test"))
    probe = LinearProbe(subject.vectors.take(train, config.representation), data.labels(train))
    predicted = probe.predict(subject.vectors.take(test, config.representation))
    return proportion((predicted == data.labels(test)).astype(np.float64), data.groups(test))


def _few_shot(subject: Subject, data: EvaluationSet, config: EvaluateConfig, shots: int, seed: int) -> Estimate:
    train, test = (data.rows(split, subject.side, labelled=True) for split in ("train", "test"))
    labels, truth = data.labels(train), data.labels(test)
    vectors = subject.vectors.take(train, config.representation)
    unseen = subject.vectors.take(test, config.representation)
    right = []
    for draw in range(config.draws):
        chosen = few_shot_rows(labels, shots, draw, seed)
        right.append(LinearProbe(vectors[chosen], labels[chosen]).predict(unseen) == truth)
    return proportion(np.array(right, dtype=np.float64), data.groups(test))


def _retrieval(subject: Subject, data: EvaluationSet, teacher: RowVectors) -> dict[str, Estimate]:
    rows = data.paired("test")
    ids = data.source_ids[rows]
    _, first = np.unique(ids, return_index=True)  # a source item that several targets share stands there once
    first = np.sort(first)
    queries, sources = subject.vectors.take(rows), teacher.take(rows[first])
    forth = ranks(queries, sources, ids, ids[first])
    back = ranks(sources, queries, ids[first], ids)
    return {
        **recall(forth, data.groups(rows), "target_to_source"),
        **recall(back, data.groups(rows[first]), "source_to_target"),
    }


def _zero_shot(subject: Subject, data: EvaluationSet, teacher: RowVectors) -> dict[str, Estimate]:
    """A linear classifier of labelled *source* vectors, applied to target vectors: no target label is used.

    Each modality is centred by its own unlabelled training items first, which closes the gap between their means.
    """
    labelled, unlabelled = data.rows("train", "source", labelled=True), data.rows("train", subject.side)
    probe = LinearProbe(teacher.take(labelled), data.labels(labelled))
    test = data.rows("test", subject.side, labelled=True)
    own_mean = unit(subject.vectors.take(unlabelled)).mean(axis=0)
    predicted = probe.predict(subject.vectors.take(test), own_mean)
    return {"zero_shot": proportion((predicted == data.labels(test)).astype(np.float64), data.groups(test))}
