"""The tables of docs/study.md, from the newest dated results of each task and axis.

python -m benchmarks.study.tables            # prints Markdown
python -m benchmarks.study.tables --figures  # draws docs/figures/study-*.svg as well
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, Measurement
from benchmarks.study.axes import known_axes
from benchmarks.study.overall import MASKS, measurements
from benchmarks.study.tasks import AXIS_METRICS, DEFAULT, FAMILY, HEADLINES, NAMES
from crossdistill.files import read_json
from crossdistill.report.metric_names import label_of

COLUMNS = (
    "linear_5_shot", "target_to_source_r@1", "target_to_source_mrr", "zero_shot", "knn", "linear", MASKS,
)  # fmt: skip


def newest(name: str) -> dict[str, Any] | None:
    """The latest raw results called so."""
    files = sorted(file for file in RESULTS.glob(f"*-{name}.json") if re.fullmatch(rf"[\d-]{{10}}-{name}", file.stem))
    found: dict[str, Any] | None = read_json(files[-1]) if files else None
    return found


def task_table(name: str, found: dict[str, Any]) -> list[str]:
    """Every method's values with their intervals: the default, the others, controls; each by its mean rank.

    Bold is the best of the objectives: a control is no method that one would choose instead.
    """
    metrics = {each["name"]: each for each in found["metrics"] if each["name"] in COLUMNS}
    columns = [each for each in COLUMNS if each in metrics]
    controls = {method for method, each in found["methods"].items() if each["control"]}
    best = {column: max(each["value"] for method, each in metrics[column]["values"].items() if method not in controls)
            for column in columns}  # fmt: skip
    counts = {split: each["pairs"] for split, each in found["pairs"]["counts"].items()}

    def standing(method: str) -> tuple[bool, bool, float]:
        ranks = [metrics[each]["ranks"][method]["value"] for each in columns if method in metrics[each]["ranks"]]
        mean = sum(ranks) / len(ranks) if ranks else float("inf")
        return method != found["reference"], method in controls, mean

    lines = [
        f"### {name}",
        "",
        f"{counts['train']} training pairs, {counts['val']} of validation, {counts['test']} of test in "
        f"{found['pairs']['test_groups']} groups, {found['pairs']['classes']} classes, {found['seeds']} seeds.",
        "",
        "| | " + " | ".join(label_of(each) for each in columns) + " |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for method in sorted(found["methods"], key=standing):
        cells = [_cell(metrics[column], method, bold=method not in controls
                       and metrics[column]["values"].get(method, {}).get("value") == best[column])
                 for column in columns]  # fmt: skip
        if not any(cells):
            continue  # said below
        written = f"*{method}*" if method in controls else f"`{method}`"
        lines.append(f"| {written} | " + " | ".join(cells) + " |")
    failed = [f"`{method}` has no result: {each[0]}" for method, each in found["failed"].items()]
    return [*lines, "", *failed, *([""] if failed else [])]


def _cell(metric: dict[str, Any], method: str, *, bold: bool) -> str:
    if method not in metric["values"]:
        return ""
    return _written(metric["values"][method], bold=bold) + _mark(metric["against"], method)


def _written(value: dict[str, float], *, bold: bool = False) -> str:
    """A value and its interval, in percent."""
    middle, low, high = (f"{100 * value[end]:.1f}" for end in ("value", "low", "high"))
    return f"{f'**{middle}**' if bold else middle} ({low} to {high})"


def targets_table(rows: list[Measurement]) -> list[str]:
    """What the study wanted over all tasks, and what came out."""
    lines = ["| | points | wanted | |", "|---" * 4 + "|"]
    for row in rows:
        value = f"{row.value} of {row.reference}" if row.unit == "tasks" else f"{row.value:+.1f}"
        lines.append(f"| {row.name} | {value} | {row.target} | {_verdict(row)} |")
    return [*lines, ""]


def _verdict(row: Measurement) -> str:
    return "" if row.target == "recorded" else "holds" if row.holds else "**missed**"


def leads(results: dict[str, dict[str, Any]]) -> list[str]:
    """The default's lead over each other objective, task by task."""
    lines = []
    for column in HEADLINES:
        tasks = [task for task, each in results.items() if any(metric["name"] == column for metric in each["metrics"])]
        lines += [f"| {DEFAULT} minus ..., {label_of(column)} | " + " | ".join(tasks) + " | mean |",
                  "|---" * (2 + len(tasks)) + "|"]  # fmt: skip
        rows = []
        others = dict.fromkeys(name for each in results.values() for name in each["methods"])
        for other in others:
            cells, values = [], []
            for task in tasks:
                metric = next(each for each in results[task]["metrics"] if each["name"] == column)
                found = next((each for each in metric["against"] if each["second"] == other), None)
                if found is None:
                    cells.append("")
                    continue
                value, low, high = (100 * found["difference"][end] for end in ("value", "low", "high"))
                values.append(value)
                cells.append(f"{value:+.1f} ({low:+.1f} to {high:+.1f})" + (" *" if found["decided"] else ""))
            if values:
                mean = sum(values) / len(values)
                control = any(each["methods"].get(other, {}).get("control") for each in results.values())
                name = f"*{other}*" if control else f"`{other}`" + (" (of the family)" if other in FAMILY else "")
                rows.append((mean, f"| {name} | " + " | ".join(cells) + f" | {mean:+.1f} |"))
        lines += [line for _, line in sorted(rows)] + [""]
    return lines


def chosen_table(results: dict[str, dict[str, Any]]) -> list[str]:
    """What the search on the validation split chose for each method."""
    lines = ["| method | " + " | ".join(results) + " |", "|---" * (1 + len(results)) + "|"]
    for method in dict.fromkeys(name for each in results.values() for name in each["methods"]):
        cells = []
        for each in results.values():
            settings = each["chosen"].get(method)
            words = [f"{key.split('.')[-1]} {value:g}" if isinstance(value, float) else f"{key.split('.')[-1]} {value}"
                     for key, value in (settings or {}).items()]  # fmt: skip
            cells.append(", ".join(words) or "as configured")
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return [*lines, ""]


def axis_table(found: dict[str, Any]) -> list[str]:
    """An axis: a row a value and method, metrics across; marked are differences from the first method."""
    lines = [f"### {found['axis']} ({found['task']}, {found['seeds']} seeds)", ""]
    names = [name for each in found["values"].values() for name in each["metrics"]]
    shots = sorted({name for name in names if re.fullmatch(r"(linear|both)_\d+_shot", name)},
                   key=lambda name: (name.split("_")[0] == "both", int(name.split("_")[1])))  # fmt: skip
    if len(found["values"]) == 1:  # a curve over metrics instead
        one = next(iter(found["values"].values()))
        columns = [each for each in (*shots, "linear", "both", "zero_shot") if each in one["metrics"]]
        lines += ["| | " + " | ".join(f"`{method}`" for method in found["methods"]) + " |",
                  "|---" * (1 + len(found["methods"])) + "|"]  # fmt: skip
        for column in columns:
            cells = [_marked(one, column, method) for method in found["methods"]]
            lines.append(f"| {label_of(column)} | " + " | ".join(cells) + " |")
        return [*lines, ""]
    lines += [
        "| | | " + " | ".join(label_of(each) for each in AXIS_METRICS) + " |",
        "|---" * (2 + len(AXIS_METRICS)) + "|",
    ]
    for label, each in found["values"].items():
        written = label
        for method in found["methods"]:
            cells = [_marked(each, column, method) for column in AXIS_METRICS]
            if any(cells):
                lines.append(f"| {written} | `{method}` | " + " | ".join(cells) + " |")
                written = ""  # a value is named once
    return [*lines, ""]


def _marked(found: dict[str, Any], column: str, method: str) -> str:
    """A method's value at one value of an axis, marked where its difference from the first method is decided."""
    value = found["metrics"].get(column, {}).get(method)
    if value is None:
        return ""
    return _written(value) + _mark(found["against"].get(column, []), method)


def _mark(against: list[dict[str, Any]], method: str) -> str:
    """A triangle where the difference of the reference and a method is decided: up where the method is better."""
    about = next((each for each in against if each["second"] == method), None)
    if about is None or not about["decided"]:
        return ""
    return " ▼" if about["difference"]["value"] > 0 else " ▲"


def main() -> None:
    """Reads the arguments, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", action="store_true")
    arguments = parser.parse_args()
    results = {name: each for name in NAMES if (each := newest(f"study-{name}")) is not None}
    axes = {name: each for name in known_axes() if (each := newest(f"study-axis-{name}")) is not None}
    lines = [line for name, each in results.items() for line in task_table(name, each)]
    if results:
        lines += [*targets_table(measurements(results)), *leads(results), *chosen_table(results)]
    lines += [line for each in axes.values() for line in axis_table(each)]
    print("\n".join(lines))
    if arguments.figures:
        from benchmarks.study.figures import draw

        for path in draw(results, axes):
            print(Path(path))


if __name__ == "__main__":
    main()
