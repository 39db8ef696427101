"""Which objective is best on the emoji pairs? Several seeds, the same budget for each, raw results kept.

    python -m benchmarks.emoji               # 3 seeds, about 20 minutes on 2 cores; goes on where it stopped
    python -m benchmarks.emoji --set forms   # batch against whole bank, and siglip, likewise
    python -m benchmarks.emoji --set pooled  # as the first, with the teacher's pooled features alone
    python -m benchmarks.emoji --quick       # 1 seed, 2 epochs: only shows that it runs

Each seed draws its own split, initial weights, order and augmentation. Everything else but the number of epochs is
`crossdistill demo`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from benchmarks.record import at_least, save
from crossdistill.files import read_json
from crossdistill.pipeline import demo_config, run
from crossdistill.report.table import label_of

_MAIN = ["cmc", "cmd", "l2", "cosine"]
SETS: dict[str, list[Any]] = {  # beside cmcd, which is in each
    "main": _MAIN,
    "pooled": _MAIN,
    "forms": [  # the whole bank instead of the batch, and sigmoids instead of a softmax
        {"name": "cmc", "against": "bank", "label": "cmc-bank"},
        {"name": "cmcd", "against": "bank", "cmd_form": "to_teacher", "label": "cmcd-bank"},
        "siglip",
    ],
}
METRICS = ("target_to_source_r@1", "target_to_source_r@5", "zero_shot", "linear_5_shot", "knn", "linear")
EPOCHS = 36  # longer than the demo, which has four minutes for everything
WORK = Path("runs/benchmarks/emoji")


def configuration(chosen: str) -> dict[str, Any]:
    """The demo's configuration with the baselines of a set, trained for longer."""
    config: dict[str, Any] = demo_config()
    config["baselines"] = SETS[chosen]
    config["train"] = {**config["train"], "epochs": EPOCHS}
    if chosen == "pooled":
        config["teacher"] = {**config["teacher"], "detail": None}
    return config


def run_seed(seed: int, chosen: str, quick: bool) -> dict[str, dict[str, float]]:
    """All objectives and the teacher on the target, for one seed: metric values by subject."""
    config = configuration(chosen)
    config["pairs"] = {"builtin": "emoji", "split": {"seed": seed}}
    config["train"] = {**config["train"], "seed": seed, **({"epochs": 2} if quick else {})}
    config["evaluate"] = {
        "protocols": ["knn", "linear", "retrieval", "zero_shot"],
        "shots": [5],
        "controls": ["random_student", "teacher_on_target", "teacher_on_source"],
    }
    config["out"] = str(WORK / f"{chosen}-{'quick' if quick else 'seed'}-{seed}")
    metrics = read_json(run(config).metrics)
    return {
        outcome["name"]: {name: outcome["metrics"][name]["value"] for name in METRICS if name in outcome["metrics"]}
        for outcome in metrics["outcomes"]
    }


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and the ends of the 95% t interval over seeds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(student_t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", choices=list(SETS), default="main")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seeds = list(range(1 if arguments.quick else arguments.seeds))
    by_seed = [run_seed(seed, arguments.set, arguments.quick) for seed in seeds]

    subjects = list(by_seed[0])
    table = {
        subject: {
            metric: interval([results[subject][metric] for results in by_seed])
            for metric in METRICS
            if metric in by_seed[0][subject]
        }
        for subject in subjects
    }
    if not arguments.json:
        print("| | " + " | ".join(label_of(metric) for metric in METRICS) + " |")
        print("|---" * (len(METRICS) + 1) + "|")
        for subject, row in table.items():
            cells = [
                f"{100 * row[m][0]:.1f} ({100 * row[m][1]:.1f} to {100 * row[m][2]:.1f})" if m in row else ""
                for m in METRICS
            ]
            print(f"| {subject} | " + " | ".join(cells) + " |")
    if not arguments.quick:
        name = "objectives-emoji" if arguments.set == "main" else f"objectives-emoji-{arguments.set}"
        save(
            name,
            {"seeds": seeds, "configuration": configuration(arguments.set), "by_seed": by_seed, "mean_low_high": table},
        )

    def paired(metric: str, ratio: float) -> None:
        ours, theirs = (table[name][metric][0] for name in ("cmcd", "l2"))
        at_least(f"{label_of(metric)}, cmcd against l2", 100 * ours, 100 * theirs, "%", ratio).show(arguments.json)

    if "l2" not in table:
        return
    paired("target_to_source_r@1", 1.5)
    paired("linear_5_shot", 1.0)
    paired("zero_shot", 1.0)
    paired("linear", 1.0)


if __name__ == "__main__":
    main()
