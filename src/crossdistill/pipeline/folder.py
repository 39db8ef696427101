"""The run folder: what lies where, and whether it belongs to the configuration at hand (docs/run-folder.md)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crossdistill.console import say
from crossdistill.errors import ConfigError, RunFolderError
from crossdistill.files import storage_errors, write_text
from crossdistill.pairs import Pairs
from crossdistill.pipeline.config import RunConfig, make_config
from crossdistill.training.config import SAFE


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def pairs(self) -> Path:
        """The rows with the split that was used."""
        return self.root / "pairs.csv"

    @property
    def skipped(self) -> Path:
        """Items that could not be read, where the configuration skips them."""
        return self.root / "skipped.json"

    @property
    def metrics(self) -> Path:
        """Every number of the report."""
        return self.root / "metrics.json"

    @property
    def outcomes(self) -> Path:
        """What was measured on each test item, for paired comparisons between runs."""
        return self.root / "outcomes.safetensors"

    @property
    def environment(self) -> Path:
        """Versions, hardware and times: what may differ between two equal runs."""
        return self.root / "environment.json"

    @property
    def log(self) -> Path:
        """Losses and monitored values over training."""
        return self.root / "train.jsonl"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def pictures(self) -> Path:
        """Small pictures for the report."""
        return self.root / "pictures"

    @property
    def pretrained(self) -> Path:
        """The encoder of stage 1."""
        return self.root / "pretrained"

    @property
    def teacher(self) -> Path:
        """The frozen teacher."""
        return self.root / "teacher"

    @property
    def bank(self) -> Path:
        """The teacher's embeddings."""
        return self.root / "bank"

    @property
    def student(self) -> Path:
        """The distilled student."""
        return self.root / "student"

    def baseline(self, name: str) -> Path:
        """A student that was distilled with another objective."""
        return self.root / "baselines" / name

    def control(self, name: str) -> Path:
        """A control that is trained."""
        return self.root / "controls" / name

    def checkpoint(self, stage: str) -> Path:
        """States of a training in progress; deleted when the run has ended."""
        return self.root / "checkpoints" / stage.replace("/", "-")


def open_run(root: Path) -> tuple[RunFolder, RunConfig]:
    """An existing run folder and its configuration.

    Raises:
        RunFolderError: it is none.
    """
    folder = RunFolder(root)
    if not folder.config.is_file():
        raise RunFolderError(
            "This is no run folder.", where=root, expected="a folder with config.yaml, made by crossdistill"
        )
    config = make_config(recorded_config(folder.config), where=str(folder.config))
    return folder, config.model_copy(update={"out": root})


def recorded_config(path: Path) -> dict[str, Any]:
    """The content of a run folder's ``config.yaml``.

    Raises:
        RunFolderError: it cannot be read, or is no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        problem = None if isinstance(content, dict) else type(content).__name__
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
    if problem is not None:
        raise RunFolderError(
            "The configuration of the run is damaged.", where=path, expected="settings in YAML", received=problem,
            fix="put the configuration that began the run in its place, or begin another run (out=...)",
        )  # fmt: skip
    recorded: dict[str, Any] = content
    return recorded


def claim(config: RunConfig, pairs: Pairs) -> RunFolder:
    """The folder ``config.out`` for this configuration and these pairs: a new one, or the same run to go on with.

    Some settings may change between the pieces of a run (:func:`is_safe`); the user is told which did.

    Raises:
        RunFolderError: the folder holds another run, or other files.
        StorageError: it cannot be written.
    """
    folder = RunFolder(config.out)
    wanted = config.to_dict()
    if folder.config.is_file():
        changed = _differences(_with_new_settings(recorded_config(folder.config)), wanted)
        unsafe, safe = (
            {key: changed[key] for key in sorted(changed) if is_safe(key) is kind} for kind in (False, True)
        )
        if unsafe:
            raise RunFolderError(
                "The output folder already holds a different run.", where=config.out,
                received=f"these settings differ: {_listed(unsafe)}"
                + (f"; safe to change, and no obstacle: {_listed(safe)}" if safe else ""),
                fix="set them back to go on with that run, or choose another folder (out=...), or delete this one",
            )  # fmt: skip
        if safe:
            say(f"going on with settings that were changed safely: {_listed(safe)}")
    elif config.out.exists() and (not config.out.is_dir() or any(map(_is_foreign, config.out.iterdir()))):
        raise RunFolderError(
            "The output folder holds something else.", where=config.out, expected="a new or empty folder",
            fix="choose another folder: out=...",
        )  # fmt: skip
    with storage_errors(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
    if not folder.config.is_file():
        # First of all: whoever is killed after this finds a folder of its own again.
        write_text(folder.config, yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True))
    _claim_pairs(folder, pairs)
    write_text(folder.config, yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True))
    return folder


def _is_foreign(path: Path) -> bool:
    """Whether something in a folder without a configuration is more than what a killed beginning left."""
    return not path.match(".config.yaml.*.part")


def _claim_pairs(folder: RunFolder, pairs: Pairs) -> None:
    """Records the pairs and their split; other pairs than the recorded ones are another run."""
    fresh = folder.root / ".pairs.csv"
    pairs.to_csv(fresh)
    if folder.pairs.is_file() and folder.pairs.read_bytes() != fresh.read_bytes():
        fresh.unlink()
        raise RunFolderError(
            "The pairs have changed since this run was begun.",
            where=folder.root,
            expected=f"the rows recorded in {folder.pairs.name}",
            fix="choose another folder (out=...), or delete this one",
        )
    with storage_errors(folder.pairs):
        fresh.replace(folder.pairs)


def is_safe(key: str) -> bool:
    """Whether a setting (``train.workers``) may change in a run that has begun: nothing that is learnt depends on it.

    The results of another ``evaluate`` section are made anew.
    """
    section, _, name = key.partition(".")
    if section == "bank":
        return name in ("folder", "shard_rows")
    return section in ("out", "evaluate", "trackers") or (section in ("train", "pretrain") and name in SAFE)


def _with_new_settings(recorded: dict[str, Any]) -> dict[str, Any]:
    """A recorded configuration with the defaults of settings that there were not when it was written.

    A run of an earlier version can so be gone on with. What this version does not understand is left as it is.
    """
    try:
        return make_config(recorded).to_dict()
    except ConfigError:
        return recorded


def _differences(first: Any, second: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys at which two plain configurations differ, with both values."""
    if isinstance(first, dict) and isinstance(second, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in first.keys() | second.keys():
            found |= _differences(first.get(key), second.get(key), f"{path}.{key}" if path else key)
        return found
    return {} if first == second else {path: (first, second)}


def _listed(changed: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key} ({_short(before)} -> {_short(after)})" for key, (before, after) in changed.items())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def discard_checkpoints(folder: RunFolder) -> None:
    """Removes the checkpoints of a run that has ended, and what killed processes had not written to its end.

    The bank does so itself, as other processes may be at work on it.
    """
    shutil.rmtree(folder.root / "checkpoints", ignore_errors=True)
    for path in folder.root.rglob(".*.part"):
        if folder.bank not in path.parents:
            path.unlink(missing_ok=True)
