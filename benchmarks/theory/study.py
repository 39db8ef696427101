"""Does the theory hold empirically, do distances foretell the gain, is the advisor right? From the finished grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Measurement, below, recorded
from benchmarks.theory import figures
from benchmarks.theory.advice import kept_at, trials
from benchmarks.theory.beds import REAL, family
from benchmarks.theory.grid import cells
from benchmarks.theory.judged import KINDS, calibrated, judge, realised, records
from benchmarks.theory.measured import rows_of_grid
from benchmarks.theory.ranks import rank_correlation
from crossdistill.advisor.forecast import Calibrations
from crossdistill.files import read_json, write_json

CALIBRATION = Path("src/crossdistill/advisor/calibration.json")
WANTED_RHO = 0.8
ERRORS = {
    "error": "few-shot test error",
    "target_risk": "soft nearest-neighbour risk",
    "excess_risk": "soft risk over the source's",
    "probe_error": "probe error",
}
VARIANTS = {
    "tv": "TV",
    "tv_one_temperature": "TV at one temperature",
    "tv_within_one_temperature": "TV within, at one temperature",
}
"""``tv`` is of the form ``to_teacher`` with the target's temperature chosen on other pairs."""
DISTANCES = (
    "total_variation", "a_distance", "mmd", "mmd_multi", "sliced_wasserstein", "sinkhorn", "modality_gap", "alignment",
    "linear_cka", "rbf_cka", "mutual_neighbours", "cca", "ridge_r2", "retrieval_auc", "retrieval_r1",
    "effective_rank_source", "effective_rank_target",
)  # fmt: skip


def run(data: Path) -> tuple[list[Measurement], dict[str, Any]]:
    """All of it; writes the figures and the advisor's calibration."""
    missing = [cell.path.stem for cell in cells() if not cell.path.is_file()]
    missing += [kept_at(*trial).stem for trial in trials() if not kept_at(*trial).is_file()]
    if missing:
        raise SystemExit(f"{len(missing)} parts of the grid are missing, such as {missing[0]}: run --parts grid advice")
    rows = rows_of_grid(data)
    found: dict[str, Any] = {"rows": rows}
    measurements = []
    found["tv_against_error"] = tv_against_error(rows)
    for name, variants in found["tv_against_error"].items():
        for variant, per_error in variants.items():
            for error, each in per_error.items():
                main = (name, variant, error) == ("dial", "tv", "error")
                if variant == "tv" or (name == "dial" and error == "error"):
                    words = f"{VARIANTS[variant]} against {ERRORS[error]}, {name}"
                    measurements.append(_rho(words, each, WANTED_RHO if main else None))
    found["inequality"] = inequality(rows)
    cases = f"of {found['inequality']['anchors']:,} cases"
    violations = found["inequality"]["violations"]
    measurements.append(below("violations of the soft nearest-neighbour inequality", violations, 0, cases))
    measurements += [
        recorded(f"{words}, median", found["inequality"][key], found["inequality"]["median_target_risk"], "risk")
        for key, words in (("median_slack", "slack of the inequality"), ("median_bound", "source risk + TV"),
                           ("median_certified", "certified bound"))
    ]  # fmt: skip
    found["distances_against_gain"] = distances_against_gain(rows)
    for name, each in found["distances_against_gain"].items():
        measurements.append(_rho(f"{name} before training against realised gain", each, None))
    known = records(rows)
    judged = judge(known)
    found["advisor"] = judged
    for kind, each in judged.items():
        words = "with labels" if kind == "labelled" else "without labels"
        measurements += [
            _rho(f"advisor {words}: forecast against realised gain", each["correlation"], WANTED_RHO),
            Measurement(name=f"advisor {words}: coverage of 90% intervals", value=each["coverage"], unit="share",
                        reference=0.9, target="0.80 to 0.97", holds=0.80 <= each["coverage"] <= 0.97),
            recorded(f"advisor {words}: mean absolute error, against that of the mean of other sets",
                     100 * each["error"], 100 * each["error_of_the_mean"], "points"),
        ]  # fmt: skip
    shipped = {kind: calibrated(known, kind).model_dump(mode="json") for kind in KINDS}
    write_json(CALIBRATION, Calibrations.model_validate(shipped).model_dump(mode="json"))
    found["calibration"] = shipped
    draw(rows, judged)
    return measurements, found


def _rho(name: str, each: dict[str, float], wanted: float | None) -> Measurement:
    label = f"{name} (95%: {each['low']:.2f} to {each['high']:.2f}, {each['points']} points)"
    if wanted is None:
        return recorded(label, each["rho"], 1.0, "rho")
    return Measurement(name=label, value=each["rho"], unit="rho", reference=1.0, target=f">= {wanted}",
                       holds=each["rho"] >= wanted)  # fmt: skip


def tv_against_error(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Rank correlation of measured TV with each error: on the dial, within each real set, and over the sets' means."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    own = [row for row in rows if row["teacher"] == "imagenet"]
    for name in ("dial", *REAL):
        # On the dial all distances at the full number of pairs; elsewhere what varies is objective, pairs and seed.
        chosen = [row for row in own if row["family"] == name and (name != "dial" or row["pairs"] > 1000)]
        if len(chosen) > 3:
            clusters = [(row["set"], row["seed"]) if name == "dial" else (row["objective"], row["pairs"], row["seed"])
                        for row in chosen]  # fmt: skip
            found[name] = _correlations(chosen, clusters)
    means = _means([row for row in own if row["objective"] == "cmcd" and row["pairs"] >= 800])
    if len(means) > 3:
        found["over all sets"] = _correlations(means, [row["set"] for row in means])
    return found


def _correlations(rows: list[dict[str, Any]], clusters: list[Any]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        variant: {
            error: rank_correlation([row[variant] for row in rows], [row[error] for row in rows], clusters)
            for error in ERRORS
        }
        for variant in VARIANTS
    }


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a set: means over seeds."""
    names = sorted({row["set"] for row in rows})
    keys = (*VARIANTS, *ERRORS, "gain")
    return [{"set": name, **{key: float(np.mean([row[key] for row in rows if row["set"] == name])) for key in keys}}
            for name in names]  # fmt: skip


def inequality(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How often the soft nearest-neighbour inequality failed, its slack, and how far the bounds are from the truth."""
    certified = [row["certified"] for row in rows if row["certified"] is not None]
    return {
        "anchors": sum(row["anchors"] for row in rows),
        "violations": sum(row["violations"] for row in rows),
        "least_slack": min(row["least_slack"] for row in rows),
        "median_slack": float(np.median([row["median_slack"] for row in rows])),
        "median_target_risk": float(np.median([row["target_risk"] for row in rows])),
        "median_bound": float(np.median([row["bound"] for row in rows])),
        "median_certified": float(np.median(certified)),
        "vacuous_certified": float(np.mean([each >= 1 for each in certified])),
        "median_probe_error": float(np.median([row["probe_error"] for row in rows])),
        "median_probe_bound": float(np.median([row["probe_bound"] for row in rows])),
    }


def distances_against_gain(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each distance before any training (400 pairs) against the mean gain of full runs, over sets and teachers."""
    largest: dict[tuple[str, str], tuple[int, float]] = {}
    for (name, teacher, pairs), (gain, _) in realised(rows).items():
        largest[name, teacher] = max(largest.get((name, teacher), (0, 0.0)), (pairs, gain))
    found = {}
    for distance in DISTANCES:
        x, y, clusters = [], [], []
        for name, teacher, seed in trials():
            if seed == 0 and (name, teacher) in largest and kept_at(name, teacher, seed).is_file():
                measured = read_json(kept_at(name, teacher, seed))["evidence"]["distances"].get(distance)
                if measured is not None:
                    x.append(measured["value"])
                    y.append(largest[name, teacher][1])
                    clusters.append(name)
        if len(x) > 3:
            found[distance] = {**rank_correlation(x, y, clusters), "x": x, "y": y, "sets": clusters}
    return found


def draw(rows: list[dict[str, Any]], judged: dict[str, Any]) -> None:
    """All figures."""
    own = [row for row in rows if row["teacher"] == "imagenet"]
    panels = []
    for name in ("dial", *REAL):
        chosen = [row for row in own if row["family"] == name and (name != "dial" or row["pairs"] > 1000)]
        panels.append((name, [row["tv"] for row in chosen], [100 * row["error"] for row in chosen],
                       [row["objective"] for row in chosen]))  # fmt: skip
    figures.scatter(panels, "measured total variation", "few-shot test error, %", "tv-error")
    bounds = [("of the sum of source risk and TV", [row["target_risk"] for row in rows],
               [row["bound"] for row in rows], [family(row["set"]) for row in rows])]  # fmt: skip
    figures.scatter(bounds, "target's soft risk", "source risk + TV", "bound", columns=1, diagonal=True)
    gains = []
    for name, each in distances_against_gain(rows).items():
        gains.append((f"{name} ({each['rho']:+.2f})", each["x"], [100 * gain for gain in each["y"]],
                      [family(name) for name in each["sets"]]))  # type: ignore[attr-defined]  # fmt: skip
    figures.scatter(gains, "before training", "realised gain, points", "distance-gain", columns=4)
    figures.forecasts([(f"advisor, {'labels' if kind == 'labelled' else 'stand-in classes'}", judged[kind]["lines"])
                       for kind in judged], "advisor")  # fmt: skip
