"""What a card says of the results: numbers in the Hub's form, comparisons in words, and limits, bad news included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult

from crossdistill.hub.facts import Facts
from crossdistill.report.table import build_table, label_of

_SMALL = 1000  # test items: below it intervals of a rate are wider than about three points to either side
_ENDINGS = {
    "_median_rank": "median_rank", "_mrr": "mean_reciprocal_rank", "_macro_f1": "f1", "_ece": "calibration_error",
    "_nmi": "normalized_mutual_info", "_ari": "adjusted_rand_index",
}  # fmt: skip
_TASKS = {"retrieval": "Cross-modal retrieval", "classification": "Classification of embeddings"}


def evaluation_results(facts: Facts, task: str) -> list[EvalResult]:
    """The main student's measurements as the Hub reads them; the interval stands in the metric's name, as there is no
    place of its own for it.

    Args:
        facts: of the run.
        task: the Hub's name of a task, such as ``image-feature-extraction``.
    """
    if facts.results is None:
        return []
    name = str(facts.results["pairs"]["name"])
    return [
        EvalResult(
            task_type=task,
            task_name=_TASKS["retrieval" if "_to_" in metric else "classification"],
            dataset_type=_slug(name),
            dataset_name=name,
            dataset_split="test",
            metric_type=metric_type(metric),
            metric_value=found["value"],
            metric_name=f"{_full_name(metric)} (95% interval {found['low']:g} to {found['high']:g}, "
            f"n = {found['items']})",
        )
        for metric, found in facts.results["outcomes"][0]["metrics"].items()
    ]


def metric_type(metric: str) -> str:
    """``accuracy``, ``f1``, ``recall_at_5``, ``median_rank`` and so on."""
    if "_r@" in metric:
        return f"recall_at_{metric.rpartition('@')[2]}"
    if metric.startswith(("miou_", "pixel_accuracy_")):
        return "mean_iou" if metric.startswith("miou_") else "pixel_accuracy"
    return next((kind for ending, kind in _ENDINGS.items() if metric.endswith(ending)), "accuracy")


def _full_name(metric: str) -> str:
    direction = metric.partition("_r@")[0].removesuffix("_median_rank").removesuffix("_mrr")
    shown = label_of(metric).removesuffix(" back").removesuffix(" among targets")
    return f"{shown}, {direction.replace('_', ' ')}" if "_to_" in metric else shown


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name) or "pairs"


def comparisons(facts: Facts) -> list[str]:
    """One sentence for each other subject: where the student is ahead of it, behind it, or not told apart."""
    if facts.results is None:
        return []
    main = facts.results["outcomes"][0]["name"]
    shown = {column.metric for column in build_table(facts.results, headlines=True).columns}
    lines = [each for each in facts.results["comparisons"] if each["metric"] in shown]
    return [
        _compared(main, outcome, lines)
        for outcome in facts.results["outcomes"][1:]
        if any(each["second"] == outcome["name"] for each in lines)
    ]


def _compared(main: str, other: Mapping[str, Any], lines: list[dict[str, Any]]) -> str:
    ahead, behind, same = [], [], []
    for line in lines:
        if line["second"] != other["name"]:
            continue
        change, metric = line["difference"], line["metric"]
        text = (
            f"{_full_name(metric)} ({100 * change['value']:+.1f} points, "
            f"{100 * change['low']:+.1f} to {100 * change['high']:+.1f})"
        )
        if change["low"] > 0:
            ahead.append(text)
        elif change["high"] < 0:
            behind.append(text)
        else:
            same.append(_full_name(metric))
    parts = [
        f"**behind** in {'; '.join(behind)}" if behind else "",
        f"ahead in {'; '.join(ahead)}" if ahead else "",
        f"not told apart in {', '.join(same)}" if same else "",
    ]
    return f"Against *{other['name']}* ({other['description']}), {main} is " + "; ".join(each for each in parts if each)


def limits(facts: Facts, *, teacher: bool) -> list[str]:
    """What a reader must know before trusting the numbers, in sentences.

    Args:
        facts: of the run.
        teacher: whether the model has its teacher with it.
    """
    found = []
    if not teacher:
        found.append("The teacher is not part of this model, so source items cannot be embedded with it.")
    results = facts.results
    if results is None:
        return [*found, "Nothing has been measured: there are no results of this model."]
    name, test = results["pairs"]["name"], results["pairs"]["splits"]["test"]
    found.append(
        f"Everything was measured on one data set, {name}: {test['pairs']} test pairs in {test['groups']} groups. How "
        "the model does on other data has not been measured."
        + (" The test set is small, so the intervals are wide." if test["pairs"] < _SMALL else "")
    )
    found.append(
        "One run with one seed. The intervals cover the choice of the test items, not that of the training seed."
    )
    shown = {column.metric for column in build_table(results, headlines=True).columns}
    for control in results["outcomes"][1:]:
        behind = [
            f"{_full_name(each['metric'])} by {-100 * each['difference']['value']:.1f} points"
            for each in results["comparisons"]
            if each["second"] == control["name"] and each["difference"]["high"] < 0 and each["metric"] in shown
        ]
        if behind:
            found.append(f"*{control['name']}* ({control['description']}) beats the student in {', '.join(behind)}.")
    for protocol, reason in results.get("left_out", {}).items():
        found.append(f"Not measured: {protocol.replace('_', ' ')}, as {reason}.")
    skipped = results["pairs"].get("skipped", 0)
    if skipped:
        found.append(f"{skipped} rows were left out, as an item of theirs could not be read.")
    return [*found, _certified(results)]


def _certified(results: Mapping[str, Any]) -> str:
    """What the theory certifies of the student's error on target items, which is often nothing."""
    chains = [each for each in results.get("certificates") or [] if each["total_certified"] is not None]
    if not chains:
        return "No bound of the error on target items has been certified."
    best = min(chains, key=lambda each: each["total_certified"])
    total, sure = best["total_certified"], f"with probability {1 - best['delta']:g}"
    if best["vacuous"]:
        return (
            f"The certified bound of the error on target items is vacuous ({total:.2f}, {sure}): it promises nothing."
        )
    if best["worse_than_guessing"]:
        return f"The certified bound of the error on target items ({total:.2f}, {sure}) is no better than guessing."
    return f"Certified: {best['bounded']} is at most {total:.2f}, {sure}."
