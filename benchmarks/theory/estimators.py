"""How far from the truth is each estimate of a distance, by sample size and dimension, and do its intervals cover it?

    python -m benchmarks.theory.estimators [--quick] [--json]

Gaussians whose distances are known in closed form. Of each estimator, sample size n and dimension d: bias, root mean
square error (RMSE) and the share of intervals that have the truth in them, over several seeds. What is cross-validated
is measured against what infinitely many items would give, so few items in many dimensions show as bias and as lost
coverage: that is what an advisor has to know, and no target is set for it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from benchmarks.record import Measurement, at_least, recorded, save, show_all
from crossdistill import distance
from crossdistill.distance import Measured

Floats = NDArray[np.float64]

SIZES = (50, 200, 800, 3200)
DIMENSIONS = (2, 16, 128, 1024)
SEEDS = {50: 40, 200: 20, 800: 5, 3200: 2}
SHIFT = 1.5
CORRELATION = 0.7


def shifted(rng: np.random.Generator, count: int, dimensions: int) -> tuple[Floats, Floats]:
    """N(0, I) and N(mu, I) with ``|mu| = SHIFT``."""
    x, y = rng.standard_normal((2, count, dimensions))
    y[:, 0] += SHIFT
    return x, y


def correlated(rng: np.random.Generator, count: int, dimensions: int) -> tuple[Floats, Floats]:
    """Pairs whose coordinates correlate one by one."""
    x, noise = rng.standard_normal((2, count, dimensions))
    return x, CORRELATION * x + np.sqrt(1 - CORRELATION**2) * noise


def independent(rng: np.random.Generator, count: int, dimensions: int) -> tuple[Floats, Floats]:
    """Pairs that have nothing in common."""
    x, y = rng.standard_normal((2, count, dimensions))
    return x, y


@dataclass(frozen=True)
class Case:
    """An estimator on samples where its truth is known.

    Attributes:
        sample: makes the two sides of (n, d).
        measure: the estimator of (source, target, seed).
        truth: of (n, d).
        most: items times dimensions beyond which it would take too long here, and is left out.
        most_items: the same of items.
    """

    sample: Callable[[np.random.Generator, int, int], tuple[Floats, Floats]]
    measure: Callable[[Floats, Floats, int], Measured]
    truth: Callable[[int, int], float]
    most: int = 3200 * 1024
    most_items: int = 3200


def _mmd(_: int, dimensions: int) -> float:
    scale = (dimensions / (dimensions + 2)) ** (dimensions / 2)
    return float(2 * scale * (1 - np.exp(-(SHIFT**2) / (2 * (dimensions + 2)))))


VARIATION = float(2 * norm.cdf(SHIFT / 2) - 1)
_EXPENSIVE = 800 * 1024

CASES: dict[str, Case] = {
    "total_variation": Case(
        shifted, lambda x, y, seed: distance.total_variation(x, y, seed=seed), lambda *_: VARIATION, most=_EXPENSIVE
    ),
    # The best classifier of two shifted Gaussians is a hyperplane, so the limit is twice the total variation.
    "a_distance": Case(
        shifted, lambda x, y, seed: distance.proxy_a_distance(x, y, seed=seed), lambda *_: 2 * VARIATION,
        most=_EXPENSIVE,
    ),
    "mmd": Case(
        shifted, lambda x, y, seed: distance.mean_discrepancy(x, y, width=x.shape[1], seed=seed), _mmd
    ),
    "sliced_wasserstein": Case(
        shifted, lambda x, y, seed: distance.sliced_wasserstein(x, y, seed=seed, draws=30),
        lambda _, dimensions: SHIFT / float(np.sqrt(dimensions)),
    ),
    # Of a pure shift every penalty gives the squared distance of the means.
    "sinkhorn": Case(
        shifted, lambda x, y, seed: distance.sinkhorn_divergence(x, y, regularisation=float(x.shape[1]), seed=seed),
        lambda *_: SHIFT**2, most_items=800,
    ),
    # The median of squared distances is about 2 d: this penalty is the usual tenth of it, that above our half.
    "sinkhorn, small penalty": Case(
        shifted, lambda x, y, seed: distance.sinkhorn_divergence(x, y, regularisation=x.shape[1] / 5, seed=seed),
        lambda *_: SHIFT**2, most_items=200,
    ),
    "linear_cka": Case(
        correlated, lambda x, y, seed: distance.kernel_alignment(x, y, seed=seed, draws=30),
        lambda *_: CORRELATION**2,
    ),
    "linear_cka, independent": Case(
        independent, lambda x, y, seed: distance.kernel_alignment(x, y, seed=seed, draws=30), lambda *_: 0.0
    ),
    "mutual_neighbours, independent": Case(
        independent, lambda x, y, seed: distance.mutual_neighbours(x, y, seed=seed, draws=10),
        lambda count, _: distance.chance_level(count),
    ),
    "cca": Case(
        correlated, lambda x, y, seed: distance.canonical_correlation(x, y, seed=seed), lambda *_: CORRELATION
    ),
    "ridge_r2": Case(
        correlated, lambda x, y, seed: distance.ridge_r2(x, y, seed=seed), lambda *_: CORRELATION**2, most=_EXPENSIVE
    ),
    "retrieval_auc, independent": Case(
        independent, lambda x, y, seed: distance.retrieval(x, y, seed=seed)["retrieval_auc"], lambda *_: 0.5,
        most=_EXPENSIVE,
    ),
    "effective_rank": Case(
        independent, lambda x, _, seed: distance.effective_rank(x, seed=seed, draws=30), lambda _, d: float(d)
    ),
    "alignment, independent": Case(
        independent, lambda x, y, seed: distance.alignment(x, y, seed=seed), lambda *_: 2.0
    ),
}  # fmt: skip
# Without bias at any size, so that intervals should cover at any size.
UNBIASED = ("mmd", "linear_cka", "linear_cka, independent", "mutual_neighbours, independent", "alignment, independent")


def cell(name: str, count: int, dimensions: int, seeds: int) -> dict[str, Any]:
    """One estimator at one size and dimension."""
    case, started = CASES[name], time.perf_counter()
    truth = case.truth(count, dimensions)
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng((seed, count, dimensions))
        found.append(case.measure(*case.sample(rng, count, dimensions), seed))
    values = np.array([each.value for each in found])
    covered = [each.low <= truth <= each.high for each in found]
    return {
        "estimator": name, "items": count, "dimensions": dimensions, "seeds": seeds, "truth": truth,
        "bias": float(values.mean() - truth), "rmse": float(np.sqrt(((values - truth) ** 2).mean())),
        "coverage": float(np.mean(covered)), "low": float(np.mean([each.low for each in found])),
        "values": [round(float(value), 6) for value in values], "seconds": (time.perf_counter() - started) / seeds,
    }  # fmt: skip


def run(quick: bool) -> tuple[list[Measurement], dict[str, Any]]:
    """The measurements, and all cells they were made of. Sequential, on one thread."""
    sizes, dimensions = ((50, 200), (2, 128)) if quick else (SIZES, DIMENSIONS)
    started, cells = time.perf_counter(), []
    with threadpool_limits(limits=1):
        for name, case in CASES.items():
            for count in sizes:
                for d in dimensions:
                    if count * d <= case.most and count <= case.most_items:
                        cells.append(cell(name, count, d, 4 if quick else SEEDS[count]))
    return _measurements(cells), {"quick": quick, "seconds": time.perf_counter() - started, "cells": cells}


def _measurements(cells: list[dict[str, Any]]) -> list[Measurement]:
    found = []
    for name in CASES:
        mine = [each for each in cells if each["estimator"] == name]
        share = float(np.average([each["coverage"] for each in mine], weights=[each["seeds"] for each in mine]))
        title = f"{name}: intervals with the truth"
        if name == "total_variation":
            found.append(at_least(f"{name}: bounds that hold", share, 0.95, "", 1.0))
        elif name in UNBIASED and sum(each["seeds"] for each in mine) >= 100:  # fewer tell nothing of 95%
            found.append(at_least(title, share, 0.9, "", 1.0))
        else:
            found.append(recorded(title, share, 0.95, ""))
    for name in CASES:
        for each in cells:
            if each["estimator"] == name and each["items"] == 200:
                found.append(
                    recorded(f"{name}: RMSE, n = 200, d = {each['dimensions']}", each["rmse"], each["truth"], "")
                )
    return found


def show_cells(cells: list[dict[str, Any]]) -> None:
    """Bias, RMSE and coverage by dimension (rows) and sample size (columns)."""
    sizes = sorted({each["items"] for each in cells})
    table = Table("estimator", "d", "truth", *(f"n = {size}" for size in sizes), box=box.SIMPLE_HEAD)
    places = {(each["estimator"], each["dimensions"], each["items"]): each for each in cells}
    for name in CASES:
        for dimensions in sorted({each["dimensions"] for each in cells}):
            row = [places.get((name, dimensions, size)) for size in sizes]
            texts = [f"{e['bias']:+.3f} {e['rmse']:.3f} {e['coverage']:.0%}" if e else "" for e in row]
            known = [each for each in row if each]
            if not known:
                continue
            truth = f"{known[0]['truth']:.3f}" if len({each["truth"] for each in known}) == 1 else "k/(n-1)"
            table.add_row(name, str(dimensions), truth, *texts)
    console = Console(width=160)
    console.print(table)
    console.print("Each: bias, RMSE, share of intervals with the truth. Empty: left out, as it would take too long.")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    measurements, raw = run(arguments.quick)
    if not arguments.json:
        show_cells(raw["cells"])
    show_all(measurements, arguments.json)
    if not arguments.quick:
        save("theory-estimators", {**raw, "measurements": [vars(measurement) for measurement in measurements]})


if __name__ == "__main__":
    main()
