"""The outcome of a comparison: every method's metrics over the seeds, paired differences, ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student_t

from crossdistill.compare.cell import Result
from crossdistill.compare.config import MethodConfig
from crossdistill.compare.statistics import (
    Difference,
    Draws,
    Interval,
    Sums,
    cliques,
    compare_all,
    interval_of,
    mean_ranks,
)
from crossdistill.pairs import Pairs
from crossdistill.pipeline.config import RunConfig
from crossdistill.pipeline.environment import describe_environment

if TYPE_CHECKING:
    from crossdistill.compare.compare import Trial

FORMAT = 1
_LESS_IS_BETTER = ("_median_rank", "_ece")


@dataclass(frozen=True)
class Metric:
    """One metric of all methods that have it.

    Attributes:
        name: as in ``metrics.json``.
        values: each method's mean over the seeds with its interval.
        per_seed: each method's value under each seed.
        against: the reference against every other method, corrected for their number.
        pairwise: every two methods, corrected likewise.
        ranks: each method's mean rank.
        alike: neighbours by rank of which no two differ.
        paired: whether test items and seeds were resampled; otherwise the intervals are over seeds alone.
    """

    name: str
    values: Mapping[str, Interval]
    per_seed: Mapping[str, Sequence[float]]
    against: Sequence[Difference] = ()
    pairwise: Sequence[Difference] = ()
    ranks: Mapping[str, Interval] = field(default_factory=dict)
    alike: Sequence[Sequence[str]] = ()
    paired: bool = True

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "name": self.name,
            "paired": self.paired,
            "values": {name: each.to_json() for name, each in self.values.items()},
            "per_seed": {name: [round(value, 5) for value in each] for name, each in self.per_seed.items()},
            "against": [each.to_json() for each in self.against],
            "pairwise": [each.to_json() for each in self.pairwise],
            "ranks": {name: each.to_json() for name, each in self.ranks.items()},
            "alike": [list(each) for each in self.alike],
        }


@dataclass(frozen=True)
class Findings:
    """Everything that a comparison says; ``compare.json`` holds it.

    Attributes:
        pairs: name and counts of the pairs.
        config: of the runs.
        methods: what was compared.
        reference: the method that others are compared with.
        select: metrics that decided between trials.
        trials: every method's settings with their scores.
        chosen: every method's best settings.
        metrics: what was measured on the test split.
        failed: runs without a result, and why.
        skipped: protocols that a method cannot be measured by.
        seconds: of work, by method.
        seeds: how many.
    """

    pairs: Mapping[str, Any]
    config: Mapping[str, Any]
    methods: Mapping[str, MethodConfig]
    reference: str
    select: Sequence[str]
    trials: Mapping[str, Sequence[Trial]]
    chosen: Mapping[str, Trial]
    metrics: Sequence[Metric]
    failed: Mapping[str, Sequence[str]]
    skipped: Mapping[str, Mapping[str, str]]
    seconds: Mapping[str, float]
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "format": FORMAT, "pairs": dict(self.pairs), "reference": self.reference, "seeds": self.seeds,
            "select": list(self.select),
            "methods": {name: each.model_dump(mode="json") for name, each in self.methods.items()},
            "trials": {name: [{"settings": dict(each.settings), "score": each.score, "failed": each.failed}
                              for each in found] for name, found in self.trials.items()},
            "chosen": {name: dict(each.settings) for name, each in self.chosen.items()},
            "metrics": [each.to_json() for each in self.metrics],
            "failed": {name: list(each) for name, each in self.failed.items()},
            "skipped": {name: dict(each) for name, each in self.skipped.items()},
            "seconds": dict(self.seconds), "config": dict(self.config), "environment": describe_environment(),
        }  # fmt: skip

    def metric(self, name: str) -> Metric:
        """The metric called ``name``."""
        return next(each for each in self.metrics if each.name == name)


def gather(
    pairs: Pairs, config: RunConfig, methods: Mapping[str, MethodConfig], trials: Mapping[str, Sequence[Trial]],
    chosen: Mapping[str, Trial], results: Mapping[str, Sequence[Result]], reference: str, select: Sequence[str],
) -> Findings:  # fmt: skip
    """From the results of all cells to what they say."""
    failed = {
        name: [each.failed for each in found if each.failed] for name, found in results.items()
        if any(each.failed for each in found)
    }  # fmt: skip
    whole = {name: found for name, found in results.items() if name not in failed}
    names = list(dict.fromkeys(metric for found in whole.values() for metric in found[0].metrics))
    metrics = [
        metric_of(name, {method: found for method, found in whole.items() if name in found[0].metrics}, reference)
        for name in names
    ]
    first = next(iter(results.values()))
    return Findings(
        pairs={"name": pairs.name, "counts": pairs.counts(), "classes": len(pairs.classes),
               "test_groups": len({pairs.group_ids[row] for row in pairs.where("test")})},
        config=config.to_dict(), methods=methods, reference=reference, select=select, trials=trials, chosen=chosen,
        metrics=metrics, failed=failed, skipped={name: found[0].skipped for name, found in whole.items()},
        seconds={name: round(sum(each.seconds for each in found), 1) for name, found in results.items()},
        seeds=len(first),
    )  # fmt: skip


def metric_of(name: str, results: Mapping[str, Sequence[Result]], reference: str) -> Metric:
    """One metric of the methods that have it."""
    itemwise = all(name in each.items for found in results.values() for each in found)
    if not itemwise or name.endswith("_median_rank"):  # a median of items is no mean over them
        per_seed = {
            method: [float(each.metrics[name]["value"]) for each in found if name in each.metrics]
            for method, found in results.items()
        }
        return Metric(name, {method: over_seeds(found) for method, found in per_seed.items()}, per_seed, paired=False)
    sums = {method: Sums.of([each.items[name] for each in found]) for method, found in results.items()}
    first = next(iter(sums.values()))
    draws = Draws.make(first.seeds, first.groups)
    values = {method: interval_of(each, draws) for method, each in sums.items()}
    per_seed = {method: [float(value) for value in each.per_seed()] for method, each in sums.items()}
    if name.endswith(_LESS_IS_BETTER) or len(sums) < 2:
        return Metric(name, values, per_seed)
    pairwise = compare_all(sums)
    ranks = mean_ranks(sums)
    against = compare_all(sums, reference) if reference in sums else []
    alike = cliques({method: each.value for method, each in ranks.items()}, pairwise)
    return Metric(name, values, per_seed, against, pairwise, ranks, alike)


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean and 95% interval by Student's t over the seeds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, mean, mean)
    half = float(student_t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)
