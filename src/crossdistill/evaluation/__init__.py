"""Evaluation in the target modality, on held-out groups, with intervals and controls."""

from crossdistill.evaluation.config import EvaluateConfig
from crossdistill.evaluation.embedding import EvaluationSet, RowVectors, embed_items
from crossdistill.evaluation.intervals import Estimate, difference
from crossdistill.evaluation.preflight import applicable
from crossdistill.evaluation.protocols import measure
from crossdistill.evaluation.retrieval import ranks, top
from crossdistill.evaluation.subject import Outcome, Subject

__all__ = [
    "Estimate", "EvaluateConfig", "EvaluationSet", "Outcome", "RowVectors", "Subject", "applicable", "difference",
    "embed_items", "measure", "ranks", "top",
]  # fmt: skip
