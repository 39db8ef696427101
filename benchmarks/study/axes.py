"""One setting at a time: how the results depend on the pairs, the labels, the temperature, the teacher, the student.

python -m benchmarks.study.axes --data FOLDER [--out runs/study] [--axes pairs,...] [--jobs N] [--quick] [--json]

Each file of `axes/` is one question: a task, methods, and the values that a setting takes. Every method has the
package's defaults, detail among them, which `python -m benchmarks.study` tunes; here nothing is tuned unless the file
says how often. Results are kept in OUT, and all of an axis as benchmarks/results/DATE-study-axis-NAME.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.record import Measurement, recorded, save, show_all
from benchmarks.study.arguments import read_arguments
from benchmarks.study.tasks import AXIS_METRICS, DETAIL, task
from crossdistill.compare import CompareConfig, compare
from crossdistill.console import say
from crossdistill.errors import CrossDistillError
from crossdistill.validation import validated

AXES = Path(__file__).parent / "axes"
SEEDS = 3


def known_axes() -> list[str]:
    """Their names."""
    return sorted(file.stem for file in AXES.glob("*.yaml"))


@dataclass(frozen=True)
class Axis:
    """A question, as its file has it.

    Attributes:
        task: of the study.
        methods: by name.
        values: for each value of the setting, all settings by dotted key.
        without: methods that a value makes no sense for, or is too dear for.
        settings: of all values, by dotted key: smaller pictures than the task has, say.
        trials: settings that every method is tuned over at each value, the rate first; 1: its defaults.
    """

    task: str
    methods: dict[str, Any]
    values: dict[str, dict[str, Any]]
    without: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    trials: int = 1

    def methods_at(self, value: str) -> dict[str, Any]:
        """The methods that are compared there, with the settings of an objective that the value has."""
        own = {key: each for key, each in self.values[value].items() if key.startswith("objective.")}
        return {
            name: {**each, "set": {**own, **each.get("set", {})}} if "objective" in each else each
            for name, each in self.methods.items()
            if name not in self.without.get(value, [])
        }

    def settings_at(self, value: str) -> dict[str, Any]:
        """All other settings of a value: they are the run's. Encoders have detail, as they do by default."""
        usual = dict.fromkeys(DETAIL, "auto") | self.settings
        return usual | {key: each for key, each in self.values[value].items() if not key.startswith("objective.")}


def read_axis(name: str) -> Axis:
    """The axis of that name."""
    return Axis(**yaml.safe_load((AXES / f"{name}.yaml").read_text(encoding="utf-8")))


def overrides(settings: dict[str, Any]) -> list[str]:
    """Settings as those of the command line."""
    return [f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).splitlines()[0]}"
            for key, value in settings.items()]  # fmt: skip


def measure(axis: str, data: Path, out: Path, jobs: int | None, *, quick: bool) -> dict[str, Any]:
    """Runs what is left of an axis: for each value every method's metrics, and their differences from the first's."""
    about = read_axis(axis)
    shared = str((out / "axes" / "bank" / about.task).resolve())
    found: dict[str, Any] = {}
    chosen = list(about.values.items())[: 1 if quick else None]
    for label, settings in chosen:
        say(f"{axis}: {label}")
        # A bank is one teacher's: values that change the teacher, or what it takes, have their own.
        changed = {key.split(".")[0] for key in (*about.settings, *settings) if key != "teacher.detail"}
        others = [] if changed & {"teacher", "pretrain", "source"} else [f"bank.folder={shared}"]
        short = ["train.epochs=2"] if quick else []
        place = out / ("quick-axes" if quick else "axes") / axis / label.replace(" ", "-").replace("%", "")
        config = task(about.task, data, place, [*overrides(about.settings_at(label)), *others, *short])
        wanted = validated(CompareConfig, {
            "methods": about.methods_at(label), "seeds": 1 if quick else SEEDS,
            "trials": 1 if quick else about.trials,
            "reference": next(iter(about.methods)),
        }, "compare")  # fmt: skip
        result = compare(config, wanted, jobs=jobs)
        found[label] = {
            "settings": settings, "failed": dict(result.failed), "seconds": dict(result.seconds),
            "chosen": {method: dict(trial.settings) for method, trial in result.chosen.items()},
            "metrics": {each.name: {method: value.to_json() for method, value in each.values.items()}
                        for each in result.metrics},
            "against": {each.name: [difference.to_json() for difference in each.against] for each in result.metrics},
        }  # fmt: skip
    return {
        "axis": axis, "task": about.task, "settings": about.settings, "trials": about.trials,
        "methods": about.methods, "seeds": SEEDS, "values": found,
    }  # fmt: skip


def rows(found: dict[str, Any]) -> list[Measurement]:
    """What is shown of it: each value beside the first."""
    shown = []
    for metric in AXIS_METRICS:
        for method in found["methods"]:
            values = {label: each["metrics"].get(metric, {}).get(method) for label, each in found["values"].items()}
            percent = {label: {end: 100 * each[end] for end in ("value", "low", "high")}
                       for label, each in values.items() if each is not None}  # fmt: skip
            first = next(iter(percent.values()), None)
            for label, each in percent.items():
                name = f"{found['axis']} {label}: {method}, {metric} ({each['low']:.1f} to {each['high']:.1f})"
                shown.append(recorded(name, each["value"], first["value"] if first else 0.0, "percent"))
    return shown


def main() -> None:
    """Reads the arguments."""
    arguments = read_arguments(
        __doc__, of="axes", known=known_axes(), quick="one value of each, one seed, two epochs; nothing is kept"
    )
    shown: list[Measurement] = []
    try:
        for name in arguments.names:
            found = measure(name, arguments.data, arguments.out, arguments.jobs, quick=arguments.quick)
            if not arguments.quick:
                save(f"study-axis-{name}", found)
            shown += rows(found)
    except CrossDistillError as error:
        raise SystemExit(f"error: {error}") from None
    show_all(shown, arguments.json)


if __name__ == "__main__":
    main()
