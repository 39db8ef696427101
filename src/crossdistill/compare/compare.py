"""``crossdistill compare``: the same tuning for every method, then all seeds, then the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from crossdistill.compare.cell import Result, is_done, read_result
from crossdistill.compare.config import CompareConfig, MethodConfig
from crossdistill.compare.findings import Findings, gather
from crossdistill.compare.plan import TUNING_SEED, Cell, make_cell, next_trials, search_space, size_of, with_method
from crossdistill.compare.subject import prepare, with_shared_parts
from crossdistill.compare.work import devices_here, work_through
from crossdistill.console import say
from crossdistill.errors import ConfigError, PairsError, TrainingError
from crossdistill.files import write_json
from crossdistill.pairs import Pairs
from crossdistill.pipeline.config import RunConfig, make_config, read_yaml
from crossdistill.validation import validated

USUAL = ("target_to_source_mrr",)
"""Metrics that decide between trials, beside the first few-shot probe, where the configuration names none."""


@dataclass(frozen=True)
class Trial:
    """One setting of a method, on the validation split.

    Attributes:
        settings: by dotted key.
        score: mean of the metrics that decide; None where the training failed.
        failed: why.
    """

    settings: Mapping[str, Any]
    score: float | None
    failed: str | None


def read_comparison(path: str | Path, overrides: list[str]) -> tuple[RunConfig, CompareConfig]:
    """A run's configuration with or without a ``compare:`` section.

    Raises:
        ConfigError: the file is missing or no YAML, or something in it is wrong.
    """
    content = read_yaml(Path(path))
    section = content.pop("compare", {}) if isinstance(content, dict) else {}
    return make_config(content, overrides, where=str(path)), validated(CompareConfig, section or {}, "compare")


def compare(
    config: RunConfig,
    settings: CompareConfig,
    *,
    jobs: int | None = None,
    keep: bool = False,
    tell: Callable[[str], None] = say,
) -> Findings:
    """Runs a whole comparison below ``config.out``; goes on where an earlier call stopped.

    Args:
        config: of the runs; its objective and baselines are the methods where ``settings`` names none.
        settings: methods, seeds, trials.
        jobs: processes at once; by default one a GPU, or up to four on processors.
        keep: keep the students of the final runs.
        tell: is given a line of progress after each cell.

    Raises:
        CrossDistillError: anything that the user can mend; what is done stays done.
    """
    methods = settings.methods or own_methods(config)
    if len(methods) < 2:
        raise ConfigError(
            "There is nothing to compare.", where="compare.methods", expected="two methods or more",
            received=", ".join(methods), fix="name some: --objectives cmcd,cmc,l2 --controls random_student",
        )  # fmt: skip
    out = config.out
    for method in methods.values():
        with_method(config, method)  # refuses settings that do not fit before anything long begins
    config = with_shared_parts(config, out)
    pairs, subject = prepare(config, out)
    tuned = settings.trials > 1 and any(method.tuned for method in methods.values())
    if tuned and not pairs.where("val"):
        raise PairsError(
            "There is no validation split to choose settings by.", where=pairs.name,
            fix="give the pairs one (pairs.split.val), or compare the defaults (--trials 1)",
        )  # fmt: skip
    cells, devices = out / "cells", devices_here(config.train.device, jobs)
    grid = _Grid(config, methods, subject, cells, devices, tell)
    trials = grid.tune(settings, pairs) if tuned else {name: [Trial({}, None, None)] for name in methods}
    chosen = {name: best(found) for name, found in trials.items()}
    results = grid.measure(chosen, settings.seeds, keep=keep)
    reference = settings.reference or next(iter(methods))
    findings = gather(pairs, config, methods, trials, chosen, results, reference, decided_by(config, settings, pairs))
    write_json(out / "compare.json", findings.to_json())
    return findings


def own_methods(config: RunConfig) -> dict[str, MethodConfig]:
    """The objective and the baselines that a run's configuration names."""
    return {
        each.label: MethodConfig(objective=each.model_dump(mode="json"))
        for each in (config.objective, *config.baselines)
    }


def decided_by(config: RunConfig, settings: CompareConfig, pairs: Pairs) -> tuple[str, ...]:
    """The metrics whose mean decides between trials."""
    if settings.select:
        return tuple(settings.select)
    found = []
    if pairs.classes and "linear" in config.evaluate.protocols:
        found.append(f"linear_{config.evaluate.shots[0]}_shot" if config.evaluate.shots else "linear")
    if "retrieval" in config.evaluate.protocols:
        found += USUAL
    if not found:
        raise ConfigError(
            "Nothing says which trial is better.", where="compare.select", expected="names of metrics",
            fix="name some, or measure retrieval or linear",
        )  # fmt: skip
    return tuple(found)


def best(trials: list[Trial]) -> Trial:
    """The trial of the highest score, the earlier of two alike.

    Raises:
        TrainingError: all of them failed.
    """
    good = [trial for trial in trials if trial.failed is None]
    if not good:
        raise TrainingError("Every trial of a method has failed.", received=trials[0].failed, where="compare")
    return max(good, key=lambda trial: float("-inf") if trial.score is None else trial.score)


class _Grid:
    """Cells of one comparison, worked through in two rounds."""

    def __init__(
        self, config: RunConfig, methods: Mapping[str, MethodConfig], subject: str, folder: Path,
        devices: list[str], tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.config, self.methods, self.subject = config, methods, subject
        self.folder, self.devices, self.tell = folder, devices, tell
        self._seconds: dict[str, float] = {}  # of a method's longest trial

    def tune(self, settings: CompareConfig, pairs: Pairs) -> dict[str, list[Trial]]:
        """Every method's trials on the validation split: turns of all methods at once."""
        select = decided_by(self.config, settings, pairs)
        spaces = {name: search_space(method, self.config, settings) for name, method in self.methods.items()}
        tuned = {name: space for name, space in spaces.items() if size_of(space) > 1}
        found: dict[str, list[Trial]] = {
            name: [] if name in tuned else [Trial({key: values[0] for key, values in space.items()}, None, None)]
            for name, space in spaces.items()
        }
        total = sum(min(settings.trials, size_of(space)) for space in tuned.values())

        def cells_of(turn: int) -> dict[str, list[Cell]]:
            tried = {name: [(trial.settings, trial.score) for trial in found[name]] for name in tuned}
            return {
                name: [self._cell(name, each, TUNING_SEED, "val")
                       for each in next_trials(space, tried[name], turn, settings.trials)]
                for name, space in tuned.items()
            }  # fmt: skip

        turn = 0
        while any((cells := cells_of(turn)).values()):
            before = sum(len(found[name]) for name in tuned)
            together = [cell for name in self._longest_first(cells) for cell in cells[name]]
            self._work(together, "trial", select, before=before, total=total)
            for name, each in cells.items():
                found[name] += [self._trial(cell, select) for cell in each]
            turn += 1
        return found

    def measure(self, chosen: Mapping[str, Trial], seeds: int, *, keep: bool) -> dict[str, list[Result]]:
        """Every method under every seed, on the test split."""
        cells = {
            name: [self._cell(name, trial.settings, seed, "test") for seed in range(seeds)]
            for name, trial in chosen.items()
        }
        # Seed by seed, so that a comparison that is stopped has all methods under some seeds.
        longest_first = [cells[name] for name in self._longest_first(cells)]
        order = [cell for together in zip(*longest_first, strict=True) for cell in together]
        self._work(order, "seed", (), keep=keep)
        return {name: [read_result(self.folder, cell) for cell in found] for name, found in cells.items()}

    def _longest_first(self, names: Iterable[str]) -> list[str]:
        """Methods in the order in which to work on them: one that takes long is not left to one process at the end."""
        return sorted(names, key=lambda name: -self._seconds.get(name, 0.0))

    def _cell(self, name: str, settings: Mapping[str, Any], seed: int, measured_on: Literal["val", "test"]) -> Cell:
        return make_cell(name, self.methods[name], self.config, self.subject, settings, seed, measured_on)

    def _trial(self, cell: Cell, select: tuple[str, ...]) -> Trial:
        result = read_result(self.folder, cell)
        self._seconds[cell.method] = max(self._seconds.get(cell.method, 0.0), result.seconds)
        score = None if result.failed else score_of(result, select)
        return Trial(cell.settings, score, result.failed)

    def _work(
        self, cells: list[Cell], what: str, select: tuple[str, ...], *, before: int = 0, total: int = 0,
        keep: bool = False,
    ) -> None:  # fmt: skip
        """Does what is left of some cells, ``before`` of ``total`` having been done (default: these are all)."""
        total = total or len({cell.key for cell in cells})
        there = len({cell.key for cell in cells if is_done(self.folder, cell)})
        done = before + there
        if there:
            self.tell(f"{done} of {total} {what}s are done already")
        for cell in work_through(cells, self.folder, self.devices, keep=keep):
            done += 1
            result = read_result(self.folder, cell)
            words = ", ".join(f"{key.split('.')[-1]} {_plain(value)}" for key, value in cell.settings.items())
            said = f"failed: {result.failed}" if result.failed else ""
            if select and not result.failed:
                said = f"{score_of(result, select):.3f}"
            which = f"seed {cell.seed}" if cell.measured_on == "test" else words or "defaults"
            self.tell(f"[{done}/{total}] {cell.method}, {which}: {said} ({result.seconds:.0f} s)".replace(":  ", " "))


def score_of(result: Result, select: tuple[str, ...]) -> float:
    """Mean of those of the metrics that this method has.

    Raises:
        ConfigError: it has none of them.
    """
    found = [float(result.metrics[name]["value"]) for name in select if name in result.metrics]
    if not found:
        raise ConfigError(
            "A method has none of the metrics that decide.", where="compare.select", received=", ".join(select),
            expected=", ".join(sorted(result.metrics)[:12]) or "metrics that are measured",
        )  # fmt: skip
    return sum(found) / len(found)


def _plain(value: Any) -> str:
    """A setting as it is told: 0.009, not 0.009000000000000001."""
    return f"{value:g}" if isinstance(value, float) else str(value)
