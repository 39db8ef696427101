"""A row of the results table: something that turns items into vectors, and what was measured on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from crossdistill.evaluation.embedding import RowVectors
from crossdistill.evaluation.intervals import Estimate
from crossdistill.evaluation.recognition import ENDINGS, Predictions, confusion, recognition
from crossdistill.pairs import Side

Role = Literal["objective", "baseline", "control"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured.

    Attributes:
        name: short and unique, such as ``cmcd`` or ``random_student``.
        role: the objective of the run, a baseline trained with the same budget, or a control.
        description: one phrase for the report.
        side: the modality whose items it embeds.
        shared: whether its vectors lie in the teacher's space, so that retrieval and zero-shot make sense.
        vectors: of all test items and all labelled training items on ``side``.
        sources: of all source items, where it has a source encoder of its own; else the teacher's are taken.
    """

    name: str
    role: Role
    description: str
    side: Side
    shared: bool
    vectors: RowVectors
    sources: RowVectors | None = None


@dataclass(kw_only=True)
class Outcome:
    """What was measured on a subject.

    Attributes:
        metrics: by name, see docs/run-folder.md.
        skipped: protocols that were not measured, with the reason.
        notes: of some metrics, how they were come by.
        confusions: of each classifier which classes it confuses, see `evaluation.recognition.confusion`.
    """

    name: str
    role: Role
    description: str
    metrics: dict[str, Estimate] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    confusions: dict[str, list[list[int]]] = field(default_factory=dict)

    def add(self, name: str, found: Predictions, note: str = "") -> None:
        """Adds what is said of a classifier, under ``name`` and what is appended to it."""
        self.metrics.update(recognition(name, found))
        self.confusions[name] = confusion(found)
        if note:
            self.notes[name] = note

    def copy(self, name: str, other: str) -> None:
        """Gives the results of a classifier a second name."""
        for ending in ENDINGS:
            self.metrics[other + ending] = self.metrics[name + ending]
        self.confusions[other] = self.confusions[name]
        if name in self.notes:
            self.notes[other] = self.notes[name]

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``metrics.json``."""
        return {
            "name": self.name,
            "role": self.role,
            "description": self.description,
            "metrics": {name: estimate.to_json() for name, estimate in self.metrics.items()},
            "skipped": self.skipped,
            "notes": self.notes,
        }
