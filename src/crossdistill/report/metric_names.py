"""What the names of metrics mean: their kind, their place in a table, and their name for people."""

from __future__ import annotations

import re
from collections.abc import Iterable

KINDS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "ece": "calibration error (less is better)",
    "retrieval": "retrieval",
    "clustering": "clustering",
    "segmentation": "segmentation",
}
"""The kinds of metrics, and the titles of their tables."""

_SIDES = {"target_to_source": "", "source_to_target": " back", "target_to_target": " among targets"}
_RETRIEVAL = re.compile(rf"({'|'.join(_SIDES)})_(r@\d+|mrr|median_rank)")
_SEGMENTATION = re.compile(r"(miou|pixel_accuracy)_(frozen|tuned)(?:_(\d+)_masks)?")
_CLASSIFIER = re.compile(r"(zero_shot|linear|both|knn|fine_tune)(?:_(\d+)_shot)?(?:_(macro_f1|ece))?")
# The order of the columns: few labels before many.
_BASES = ("zero_shot", "linear few", "both few", "knn", "linear", "both", "fine_tune few", "fine_tune")
_FULL = {"zero_shot": "zero-shot", "linear": "linear", "both": "both labels", "knn": "k-NN",
         "fine_tune": "all weights trained"}  # fmt: skip
_FEW = {"linear": "", "both": "both labels, ", "fine_tune": "fine-tuned, "}
_HEADLINES = ("target_to_source_r@1", "target_to_source_r@5", "zero_shot", "knn", "linear", "fine_tune")
_USUAL = 5  # shots


def classifier(metric: str) -> tuple[str, int | None, str] | None:
    """Base, labels a class (None: all) and kind of a classifier's metric; None for other metrics."""
    match = _CLASSIFIER.fullmatch(metric)
    return None if match is None else (match[1], int(match[2]) if match[2] else None, match[3] or "accuracy")


def kind_of(metric: str) -> str:
    """The key in ``KINDS``."""
    found = classifier(metric)
    if found is not None:
        return found[2]
    if _RETRIEVAL.fullmatch(metric):
        return "retrieval"
    return "clustering" if metric.startswith("clustering_") else "segmentation"


def label_of(metric: str) -> str:
    """A metric's name for people."""
    if (found := classifier(metric)) is not None:
        base, shots, kind = found
        name = _FULL[base] if shots is None else f"{_FEW[base]}{shots}-shot"
        return name + {"accuracy": "", "macro_f1": ", macro F1", "ece": ", ECE"}[kind]
    if (match := _RETRIEVAL.fullmatch(metric)) is not None:
        return {"mrr": "MRR", "median_rank": "median rank"}.get(match[2], match[2].upper()) + _SIDES[match[1]]
    if (match := _SEGMENTATION.fullmatch(metric)) is not None:
        number = "" if match[3] is None else f", {match[3]} masks"
        return f"{'mIoU' if match[1] == 'miou' else 'pixels'} {match[2]}{number}"
    return {"clustering_nmi": "NMI of clusters", "clustering_ari": "ARI of clusters"}.get(metric, metric)


def order_of(metric: str) -> tuple[int, int, int, str]:
    """What columns are sorted by."""
    kinds = list(KINDS)
    if (found := classifier(metric)) is not None:
        base, shots, kind = found
        place = _BASES.index(base if shots is None else f"{base} few")
        return 1 + kinds.index(kind), place, shots or 0, metric
    if (match := _RETRIEVAL.fullmatch(metric)) is not None:
        what = 10_000 if match[2] == "median_rank" else 5_000 if match[2] == "mrr" else int(match[2][2:])
        return 0, list(_SIDES).index(match[1]), what, metric
    if (match := _SEGMENTATION.fullmatch(metric)) is not None:
        return 20, 2 * (match[1] != "miou") + (match[2] != "frozen"), int(match[3] or 1_000_000), metric
    return 10, 0, 0, metric


def headlines(metrics: Iterable[str]) -> list[str]:
    """The few that fit a terminal, in their order; of probes on few labels those on 5 a class, or next to that."""
    names = sorted(metrics, key=order_of)
    few = {found[1] for name in names if (found := classifier(name)) and found[1] and found[0] != "fine_tune"}
    usual = min(few, key=lambda shots: (abs(shots - _USUAL), shots), default=0)
    chosen = {*_HEADLINES, f"linear_{usual}_shot", f"both_{usual}_shot"}
    return [name for name in names if name in chosen or _leads(name, names)]


def _leads(metric: str, names: list[str]) -> bool:
    """Whether it is a mean IoU of all masks, or of few where there is none of all."""
    match = _SEGMENTATION.fullmatch(metric)
    if match is None or match[1] != "miou":
        return False
    return match[3] is None or f"miou_{match[2]}" not in names


def less_is_better(metric: str) -> bool:
    """Ranks and errors."""
    return metric.endswith(("median_rank", "_ece"))


def format_value(metric: str, value: float) -> str:
    """Percent with one decimal; ranks as they are."""
    return f"{value:g}" if metric.endswith("median_rank") else f"{100 * value:.1f}"
