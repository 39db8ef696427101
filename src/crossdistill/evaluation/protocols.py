"""Stage 3 on frozen vectors: k-NN, linear and few-shot probes, clustering, retrieval, and labels of the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from crossdistill.evaluation.both_labels import best_pool, choose_pool, log_probabilities, pooled
from crossdistill.evaluation.clustering import agreement, clusters
from crossdistill.evaluation.config import EvaluateConfig, Protocol
from crossdistill.evaluation.embedding import EvaluationSet, RowVectors
from crossdistill.evaluation.intervals import Floats, Ints
from crossdistill.evaluation.probes import LinearProbe, Vectors, few_shot_rows, knn_answers, unit
from crossdistill.evaluation.recognition import Predictions, stacked
from crossdistill.evaluation.retrieval import ranks, recall, same_side
from crossdistill.evaluation.subject import Outcome, Subject


def measure(
    subject: Subject, data: EvaluationSet, teacher: RowVectors | None, config: EvaluateConfig, seed: int
) -> Outcome:
    """Runs all protocols of ``config`` that need no training of networks.

    Args:
        subject: what to measure.
        data: the test bed.
        teacher: the teacher's vectors of source items; needed for retrieval and for labels that come from the source.
        config: the ``evaluate:`` section.
        seed: of the few-shot draws and of k-means.
    """
    teacher = teacher if subject.sources is None else subject.sources
    bench = _Bench(subject, data, teacher, config, seed)
    for protocol, run in _ALONE.items():
        if protocol in config.protocols:
            run(bench)
    for protocol, run in _ACROSS.items():
        if protocol not in config.protocols:
            continue
        if not subject.shared or teacher is None:
            bench.outcome.skipped[protocol] = "its vectors are not compared with the teacher's"
        else:
            run(bench)
    return bench.outcome


@dataclass
class _Bench:
    """One subject at work: the rows that its protocols share, and what has been found."""

    subject: Subject
    data: EvaluationSet
    teacher: RowVectors | None
    config: EvaluateConfig
    seed: int
    outcome: Outcome = field(init=False)
    _probes: dict[str, dict[str, list[LinearProbe]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outcome = Outcome(
            name=self.subject.name, role=self.subject.role, description=self.subject.description
        )  # fmt: skip

    @cached_property
    def train(self) -> Ints:
        """Labelled training rows."""
        return self.data.rows("train", self.subject.side, labelled=True)

    @cached_property
    def test(self) -> Ints:
        """Labelled test rows."""
        return self.data.rows("test", self.subject.side, labelled=True)

    def probed(self, rows: Ints) -> Vectors:
        """What probes see of some rows."""
        return self.subject.vectors.take(rows, self.config.representation)

    def add(self, name: str, answers: list[tuple[Ints, Floats]]) -> None:
        """Adds what a classifier says of the test rows, an answer for each draw of its labels."""
        self.outcome.add(name, self.predictions(answers))

    def predictions(self, answers: list[tuple[Ints, Floats]]) -> Predictions:
        """The same as they are compared with the truth."""
        truth, groups = self.data.labels(self.test), self.data.groups(self.test)
        return stacked(answers, truth, groups, len(self.data.pairs.classes))

    @cached_property
    def chosen(self) -> dict[str, list[Ints]]:
        """Positions among the training rows: all (named by nothing), few of each class (``_5_shot``), one a draw."""
        labels = self.data.labels(self.train)
        found = {"": [np.arange(len(labels))]}
        for shots in self.config.shots:
            draws = range(self.config.draws)
            found[f"_{shots}_shot"] = [few_shot_rows(labels, shots, draw, self.seed) for draw in draws]
        return found

    def target_probes(self, kind: str) -> dict[str, list[LinearProbe]]:
        """Probes on what is `chosen`, of one kind of vectors."""
        if kind not in self._probes:
            vectors, labels = self.subject.vectors.take(self.train, kind), self.data.labels(self.train)
            self._probes[kind] = {
                name: [LinearProbe(vectors[some], labels[some]) for some in draws]
                for name, draws in self.chosen.items()
            }
        return self._probes[kind]

    @cached_property
    def source_probe(self) -> tuple[LinearProbe, Vectors]:
        """A probe on labelled source vectors, and the mean of the subject's unlabelled training items.

        Each modality is centred by its own unlabelled training items, which closes the gap between their means.
        """
        assert self.teacher is not None
        labelled = self.data.rows("train", "source", labelled=True)
        unlabelled = self.data.rows("train", self.subject.side)
        own_mean = unit(self.subject.vectors.take(unlabelled)).mean(axis=0)
        return LinearProbe(self.teacher.take(labelled), self.data.labels(labelled)), own_mean

    @property
    def gallery(self) -> RowVectors:
        """The teacher's vectors, which are there where the subject's are compared with them."""
        assert self.teacher is not None
        return self.teacher


def _knn(bench: _Bench) -> None:
    labels = bench.data.labels(bench.train)
    found = knn_answers(bench.probed(bench.train), labels, bench.probed(bench.test), bench.config.neighbours)
    bench.add("knn", [found])


def _linear(bench: _Bench) -> None:
    unseen = bench.probed(bench.test)
    for name, probes in bench.target_probes(bench.config.representation).items():
        bench.add(f"linear{name}", [probe.answers(unseen) for probe in probes])


def _clustering(bench: _Bench) -> None:
    truth = bench.data.labels(bench.test)
    found = clusters(bench.probed(bench.test), len(np.unique(truth)), bench.seed)
    bench.outcome.metrics.update(agreement(found, truth, bench.data.groups(bench.test), "clustering"))


def _retrieval(bench: _Bench) -> None:
    rows = bench.data.paired("test")
    ids, groups = bench.data.source_ids[rows], bench.data.groups(rows)
    _, first = np.unique(ids, return_index=True)  # a source item that several targets share stands there once
    first = np.sort(first)
    queries, sources = bench.subject.vectors.take(rows), bench.gallery.take(rows[first])
    forth = ranks(queries, sources, ids, ids[first])
    back = ranks(sources, queries, ids[first], ids)
    metrics = bench.outcome.metrics
    metrics.update(recall(forth, groups, "target_to_source"))
    metrics.update(recall(back, groups[first], "source_to_target"))
    among = same_side(queries, ids, groups)
    if among is not None:
        metrics.update(recall(among[1], groups[among[0]], "target_to_target"))


def _zero_shot(bench: _Bench) -> None:
    """A linear classifier of labelled *source* vectors, applied to target vectors: no target label is used."""
    probe, own_mean = bench.source_probe
    bench.add("zero_shot", [probe.answers(bench.subject.vectors.take(bench.test), own_mean)])


def _both(bench: _Bench) -> None:
    """The zero-shot classifier and those of labelled target vectors together."""
    probe, own_mean = bench.source_probe
    classes = len(bench.data.pairs.classes)
    vectors, unseen = (bench.subject.vectors.take(rows) for rows in (bench.train, bench.test))
    labels, groups = bench.data.labels(bench.train), bench.data.groups(bench.train)
    held_out = bench.data.rows("val", bench.subject.side, labelled=True)
    apart = bench.subject.vectors.take(held_out)

    def said(classifier: LinearProbe, items: Vectors, mean: Vectors | None = None) -> Floats:
        return log_probabilities(classifier.scores(items, mean), classifier.classes, classes)

    seen, source = said(probe, vectors, own_mean), said(probe, unseen, own_mean)
    for name, probes in bench.target_probes("embedding").items():
        answers = []
        for own, some in zip(probes, bench.chosen[name], strict=True):
            if name == "" and len(held_out):
                # Of training items the source's classifier has seen the partners, and the student too: where all
                # labels may be used, those of the val split are a better judge.
                choice = best_pool(said(probe, apart, own_mean), said(own, apart), bench.data.labels(held_out))
            else:
                choice = choose_pool(seen[some], vectors[some], labels[some], groups[some])
            answers.append(pooled(source, said(own, unseen), *choice))
        bench.add(f"both{name}", answers)


_ALONE: dict[Protocol, Callable[[_Bench], None]] = {"knn": _knn, "linear": _linear, "clustering": _clustering}
_ACROSS: dict[Protocol, Callable[[_Bench], None]] = {"retrieval": _retrieval, "zero_shot": _zero_shot, "both": _both}
