"""The cells of a comparison: each is one method under one seed and one choice of settings, worked on by itself."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
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


def candidates(method: MethodConfig, config: RunConfig, compare: CompareConfig) -> list[dict[str, Any]]:
    """The settings that are tried for a method: its defaults first, then others, the same each time.

    The settings of all methods (length, learning rate) are gone through in one order for every method, so that none is
    lucky with them; each method's own go along, one value after the other. Then what is left, in a random order. Every
    method has as many, or all there are where its space is smaller.
    """
    if compare.trials == 1 or not method.tuned:
        return [{}]
    chosen = with_method(config, method)
    common: dict[str, Sequence[Any]] = dict(compare.search if compare.search is not None else _common(method, chosen))
    own: dict[str, Sequence[Any]] = dict(own_search(chosen.objective)) if method.objective is not None else {}
    own |= method.search
    common = {key: values for key, values in common.items() if key not in own}
    shared = _combinations(common)
    turns = max([len(shared), *map(len, own.values())])
    first = [{**shared[turn % len(shared)], **{key: values[turn % len(values)] for key, values in own.items()}}
             for turn in range(turns)]  # fmt: skip
    every = _combinations({**common, **own})
    rest = [every[place] for place in np.random.default_rng(0).permutation(len(every))]
    found: list[dict[str, Any]] = []
    for each in [*first, *rest]:
        if len(found) < compare.trials and each not in found:
            found.append(each)
    return found


def _combinations(space: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All of a space, the last key's values first."""
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def _common(method: MethodConfig, config: RunConfig) -> dict[str, Sequence[Any]]:
    """Lengths and learning rates around what is configured; every method is compared at the best of its own."""
    section = "evaluate.supervised" if method.control == "supervised" else "train"
    settings = config.evaluate.supervised if method.control == "supervised" else config.train
    return {
        f"{section}.epochs": list(dict.fromkeys([settings.epochs, max(1, settings.epochs // 3)])),
        f"{section}.lr": [settings.lr, 3 * settings.lr, settings.lr / 3],
    }


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
