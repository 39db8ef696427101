"""The cells of a comparison: each is one method under one seed and one choice of settings, worked on by itself."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from crossdistill.compare.config import CompareConfig, MethodConfig, own_search
from crossdistill.errors import ConfigError
from crossdistill.pipeline.config import RunConfig, make_config
from crossdistill.pipeline.folder import is_safe

FORMAT = 1
TUNING_SEED = 1000  # none of the final runs': what was chosen by one is not what is reported
_NOT_LEARNT = ("teacher.save",)


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation, or one control.

    Attributes:
        method: its name.
        seed: of the training and of the draws of labels.
        measured_on: ``val`` for a trial, ``test`` for a result.
        settings: what the search has set, by dotted key.
        control: the control, None for an objective.
        config: of the run, as plain values.
        key: says what it depends on; equal keys have equal results.
    """

    method: str
    seed: int
    measured_on: Literal["val", "test"]
    settings: Mapping[str, Any]
    control: str | None
    config: Mapping[str, Any] = field(repr=False)
    key: str = ""


def search_space(method: MethodConfig, config: RunConfig, compare: CompareConfig) -> dict[str, list[Any]]:
    """What is tried for a method, by dotted key, the default first: the learning rate, the first of its own settings,
    the length, its other settings.

    Empty where it is compared as it is configured.
    """
    if compare.trials == 1 or not method.tuned:
        return {}
    chosen = with_method(config, method)
    own = own_search(chosen.objective) if method.objective is not None else {}
    if compare.search is not None:
        return {**compare.search, **own, **method.search}
    section = "evaluate.supervised" if method.control == "supervised" else "train"
    settings = chosen.evaluate.supervised if method.control == "supervised" else chosen.train
    # Rounded: 3 * 0.003 is 0.009000000000000001, which would be another cell than 0.009.
    rates = {f"{section}.lr": [settings.lr, *(float(f"{each:.6g}") for each in (3 * settings.lr, settings.lr / 3))]}
    lengths = {f"{section}.epochs": list(dict.fromkeys([settings.epochs, max(1, settings.epochs // 3)]))}
    # The length before a second setting of its own, so that a small budget reaches it for every method.
    first, others = dict(list(own.items())[:1]), dict(list(own.items())[1:])
    return {**rates, **first, **lengths, **others, **method.search}


def size_of(space: Mapping[str, Sequence[Any]]) -> int:
    """How many settings there are."""
    return math.prod(len(values) for values in space.values())


def next_trials(
    space: Mapping[str, Sequence[Any]], tried: Sequence[tuple[Mapping[str, Any], float | None]], turn: int, trials: int
) -> list[dict[str, Any]]:
    """What is to be tried next of a method: a search along one setting after the other, each around the best so far.

    First the defaults; then in each turn all other values of one key, the rest as in the best trial; what is left of
    the budget when no such value is new goes to other combinations at random, the same each time.

    Args:
        space: values by dotted key, the default first.
        tried: settings with their score, None where the training failed.
        turn: number of this turn, from 0.
        trials: the budget of the method.

    Returns:
        At most what is left of the budget; nothing where that, or the space, is used up.
    """
    left = min(trials, size_of(space)) - len(tried)
    if left <= 0:
        return []
    if not tried:
        return [{key: values[0] for key, values in space.items()}]
    known = [dict(settings) for settings, _ in tried]
    best, _ = max(tried, key=lambda each: float("-inf") if each[1] is None else each[1])
    keys = list(space)
    for key in [keys[(turn - 1 + step) % len(keys)] for step in range(len(keys))]:
        others = [{**best, key: value} for value in space[key]]
        if new := [each for each in others if each not in known]:
            return new[:left]
    every = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    order = np.random.default_rng(0).permutation(len(every))
    return [every[place] for place in order if every[place] not in known][:left]


def with_settings(content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's plain values with others at dotted keys.

    Raises:
        ConfigError: a key goes into something that is no section.
    """
    found: dict[str, Any] = copy.deepcopy(dict(content))
    for key, value in settings.items():
        place: Any = found
        *parents, last = key.split(".")
        for part in parents:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ConfigError("A setting goes into something that is no section.", where="compare", received=key)
        place[last] = value
    return found


def with_method(config: RunConfig, method: MethodConfig) -> RunConfig:
    """The configuration of one run of a method: its objective or control alone, and its settings."""
    content = config.to_dict()
    content["baselines"] = []
    content["trackers"] = []
    content["teacher"]["save"] = False
    content["evaluate"]["controls"] = [method.control] if method.control is not None else []
    if method.objective is not None:
        content["objective"] = method.objective
    return make_config(with_settings(content, method.set), where="compare")


def make_cell(
    name: str, method: MethodConfig, config: RunConfig, subject: str, settings: Mapping[str, Any], seed: int,
    measured_on: Literal["val", "test"],
) -> Cell:  # fmt: skip
    """A cell with its key.

    Args:
        name: of the method.
        method: what it is.
        config: of the comparison, with the bank that all cells share.
        subject: hash of the pairs' content and of the teacher.
        settings: from the search.
        seed: of everything that is drawn.
        measured_on: the split.
    """
    base = with_method(config, method).to_dict()
    seeded = {"train.seed": seed, "pairs.measure_on": measured_on}
    if config.pretrain is not None:
        raise ValueError("stage 1 is run once, before the cells")
    resolved = make_config(with_settings(base, {**settings, **seeded}), where="compare").to_dict()
    learnt = {
        key: value for key, value in _flat(resolved).items()
        if value is not None  # what is off changes nothing, nor does a setting that later versions add and leave off
        if key.startswith("evaluate.") or (not is_safe(key) and key not in _NOT_LEARNT and not _is_path(key))
    }  # fmt: skip
    about = {"format": FORMAT, "subject": subject, "control": method.control, "config": learnt}
    key = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return Cell(name, seed, measured_on, dict(settings), method.control, resolved, key)


def _is_path(key: str) -> bool:
    """Whether it says where the pairs are: what they are is in their hash."""
    return key.startswith("pairs.") and key != "pairs.measure_on" and not key.startswith("pairs.split")


def _flat(content: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted key."""
    if not isinstance(content, dict) or not content:
        return {path: content}
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= _flat(value, f"{path}.{key}" if path else str(key))
    return found
