"""The advisor judged: forecasts and verdicts against what full runs brought, on sets that it has not learnt from."""

from __future__ import annotations

from collections import Counter, defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.theory.advice import kept_at, trials
from benchmarks.theory.beds import family
from benchmarks.theory.ranks import rank_correlation
from crossdistill.advisor.curve import Spread
from crossdistill.advisor.evidence import Pilot
from crossdistill.advisor.forecast import Calibration, curve_of, features, fit_calibration, forecast, gain_error
from crossdistill.advisor.verdict import WORTHWHILE, rule
from crossdistill.files import read_json

KINDS = ("labelled", "stand_in")
MULTIPLES = (2, 4, 10)


def evidence_of(name: str, teacher: str, seed: int) -> Any:
    """Evidence as it was kept, with attributes instead of keys."""
    found = _namespace(read_json(kept_at(name, teacher, seed))["evidence"])
    found.knows = found.teacher_knows
    found.distances = vars(found.distances)
    for task in found.tasks:
        task.pilots = [Pilot(**vars(each)) for each in task.pilots]
        task.linear = [Pilot(**vars(each)) for each in task.linear]
        task.alone = max(task.untrained, task.scratch, key=lambda each: each.value)
    found.task = found.tasks[0] if found.tasks else None
    return found


def _namespace(content: Any) -> Any:
    if isinstance(content, dict):
        return SimpleNamespace(**{key: _namespace(value) for key, value in content.items()})
    return [_namespace(each) for each in content] if isinstance(content, list) else content


def realised(rows: list[dict[str, Any]]) -> dict[tuple[str, str, int], tuple[float, int]]:
    """Mean gain of full runs with the default objective by set, teacher and pairs, and over how many seeds."""
    gains = defaultdict(list)
    for row in rows:
        if row["objective"] == "cmcd":
            gains[row["set"], row["teacher"], row["pairs"]].append(row["gain"])
    return {key: (float(np.mean(each)), len(each)) for key, each in gains.items()}


def records(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A forecast's features beside what came out: one record for each evidence, task and number of pairs."""
    found, gains = [], realised(rows)
    for name, teacher, seed in trials():
        if not kept_at(name, teacher, seed).is_file():
            continue
        evidence = evidence_of(name, teacher, seed)
        for task in evidence.tasks:
            curve = curve_of(task)
            for (other, its, pairs), (gain, seeds) in gains.items():
                if (other, its) == (name, teacher):
                    found.append(
                        {"set": name, "family": family(name), "teacher": teacher, "seed": seed, "pairs": pairs,
                         "kind": "stand_in" if task.stand_in else "labelled", "gain": gain, "seeds": seeds,
                         "features": features(task, curve, pairs).tolist(), "task": task, "curve": curve,
                         "evidence": evidence}
                    )  # fmt: skip
    return found


def calibrated(found: list[dict[str, Any]], kind: str, without: str | None = None) -> Calibration:
    """What the advisor learns from all records of a kind but those of one family."""
    chosen = [each for each in found if each["kind"] == kind and each["family"] != without]
    return fit_calibration(
        [np.array(each["features"]) for each in chosen], [each["gain"] for each in chosen],
        [each["family"] for each in chosen], [gain_error(each["task"]) for each in chosen],
    )  # fmt: skip


def judge(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Leave-one-set-out: forecasts, their intervals, and verdicts."""
    judged: dict[str, Any] = {}
    for kind in KINDS:
        lines = []
        for name in sorted({each["family"] for each in found}):
            known = calibrated(found, kind, name)
            for each in found:
                if each["kind"] == kind and each["family"] == name:
                    said = forecast(each["task"], each["curve"], each["pairs"], known)
                    lines.append(_line(each, said, known))
        inside = [each["low"] <= each["gain"] <= each["high"] for each in lines]
        judged[kind] = {
            "correlation": rank_correlation(
                [each["forecast"] for each in lines], [each["gain"] for each in lines], [each["set"] for each in lines]
            ),
            "coverage": float(np.mean(inside)),
            "error": float(np.mean([abs(each["forecast"] - each["gain"]) for each in lines])),
            "error_of_the_mean": _error_of_the_mean(lines),
            "confusion": _confusion(lines),
            "lines": lines,
        }
    return judged


def _line(each: dict[str, Any], said: Spread, known: Calibration) -> dict[str, Any]:
    task, curve, pairs = each["task"], each["curve"], each["pairs"]
    evidence = SimpleNamespace(**{**vars(each["evidence"]), "task": task})
    more = [(times * pairs, forecast(task, curve, times * pairs, known)) for times in MULTIPLES]
    ruling = rule(evidence, said, more)  # type: ignore[arg-type]  # what it reads is there
    plain = {key: each[key] for key in ("set", "family", "teacher", "seed", "pairs", "gain", "seeds", "features")}
    return {**plain, "forecast": said.value, "low": said.low, "high": said.high, "verdict": ruling.verdict,
            "partner": each["evidence"].partner.value}  # fmt: skip


def _error_of_the_mean(lines: list[dict[str, Any]]) -> float:
    """Of a forecaster that says of every set what the others gained on average."""
    errors = []
    for each in lines:
        others = [other["gain"] for other in lines if other["family"] != each["family"]]
        errors.append(abs(float(np.mean(others)) - each["gain"]))
    return float(np.mean(errors))


def _confusion(lines: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for each in lines:
        table[each["verdict"]]["helped" if each["gain"] >= WORTHWHILE else "did not help"] += 1
    return {verdict: dict(counts) for verdict, counts in table.items()}
