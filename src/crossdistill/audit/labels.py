"""Labels: how even they are, whether the rare ones bear a few-shot protocol, and where each of them is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from crossdistill.audit.finding import Finding
from crossdistill.pairs import SPLITS, Pairs, Split

SHOTS = 5  # labelled items of each class that the default few-shot protocol takes
_UNEVEN = 20.0  # times the rarest class that the largest may have
_NAMED = 5


def label_counts(pairs: Pairs) -> dict[str, dict[Split, int]]:
    """For each label the number of its rows in each split, the largest label first."""
    counts = Counter((pair.label, pair.split) for pair in pairs if pair.label is not None and pair.split is not None)
    table: dict[str, dict[Split, int]] = {
        label: {split: counts[label, split] for split in SPLITS} for label in pairs.classes
    }
    return dict(sorted(table.items(), key=lambda line: (-sum(line[1].values()), line[0])))


def check_labels(pairs: Pairs) -> Iterator[Finding]:
    """Findings about the labels; none where there are no labels."""
    counts = label_counts(pairs)
    if not counts:
        return
    if len(counts) == 1:
        yield Finding(
            severity="warning", check="labels", message="There is only one class.", where=pairs.name,
            fix="label a second class, or leave knn, linear, fine_tune and zero_shot out of evaluate.protocols",
        )  # fmt: skip
        return
    sizes = {label: sum(splits.values()) for label, splits in counts.items()}
    largest, smallest = max(sizes, key=lambda label: sizes[label]), min(sizes, key=lambda label: sizes[label])
    ratio = sizes[largest] / max(sizes[smallest], 1)
    if ratio > _UNEVEN:
        yield Finding(
            severity="note", check="labels", where=pairs.name, numbers={"ratio": ratio},
            message=f"The classes are uneven: {largest!r} has {sizes[largest]} rows, {smallest!r} {sizes[smallest]}.",
            fix="read accuracies with that in mind, or drop the labels of the rarest classes",
        )  # fmt: skip
    rare = [label for label, splits in counts.items() if 0 < splits["train"] < SHOTS]
    if rare:
        yield Finding(
            severity="warning", check="labels", where=pairs.name, numbers={"classes": len(rare)},
            message=f"{len(rare)} of {len(counts)} classes have fewer than {SHOTS} training rows: {_named(rare)}.",
            fix="lower evaluate.shots, label more, or drop the labels of these classes",
        )  # fmt: skip
    unseen = [label for label, splits in counts.items() if splits["train"] == 0]
    if unseen:
        yield Finding(
            severity="warning", check="labels", where=pairs.name, numbers={"classes": len(unseen)},
            message=f"{len(unseen)} of {len(counts)} classes are in no training row: {_named(unseen)}.",
            fix="probes cannot learn them: change the split, or drop their labels",
        )  # fmt: skip
    untested = [label for label, splits in counts.items() if splits["train"] and not splits["test"]]
    if untested:
        yield Finding(
            severity="note", check="labels", where=pairs.name, numbers={"classes": len(untested)},
            message=f"{len(untested)} of {len(counts)} classes are in no test row: {_named(untested)}.",
            fix="nothing, if results may say nothing about them; else change the split",
        )  # fmt: skip


def _named(labels: list[str]) -> str:
    return ", ".join(labels[:_NAMED]) + (f", and {len(labels) - _NAMED} more" if len(labels) > _NAMED else "")
