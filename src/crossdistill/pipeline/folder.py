"""The run folder: what lies where, and whether it belongs to the configuration at hand (docs/run-folder.md)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crossdistill.errors import RunFolderError
from crossdistill.files import storage_errors, write_text
from crossdistill.pairs import Pairs
from crossdistill.pipeline.config import RunConfig, make_config


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

    def checkpoint(self, stage: str) -> Path:
        """State of a training in progress; deleted when it has ended."""
        return self.root / "checkpoints" / f"{stage.replace('/', '-')}.pt"


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
    config = make_config(yaml.safe_load(folder.config.read_text(encoding="utf-8")), where=str(folder.config))
    return folder, config.model_copy(update={"out": root})


def claim(config: RunConfig, pairs: Pairs) -> RunFolder:
    """The folder ``config.out`` for this configuration and these pairs: a new one, or the same run to go on with.

    A change of the ``evaluate`` section alone is safe: nothing trained depends on it, and the results are made anew.

    Raises:
        RunFolderError: the folder holds another run, or other files.
        StorageError: it cannot be written.
    """
    folder = RunFolder(config.out)
    wanted = config.to_dict()
    if folder.config.is_file():
        present = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
        changed = sorted(_differences(present, wanted, exclude=("out", "evaluate")))
        if changed:
            raise RunFolderError(
                "The output folder already holds a different run.",
                where=config.out,
                received=f"these settings differ: {', '.join(changed)}",
                fix="choose another folder (out=...), or delete this one",
            )
    elif config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise RunFolderError(
            "The output folder holds something else.", where=config.out, expected="a new or empty folder",
            fix="choose another folder: out=...",
        )  # fmt: skip
    with storage_errors(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
    _claim_pairs(folder, pairs)
    write_text(folder.config, yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True))
    return folder


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


def _differences(first: Any, second: Any, exclude: tuple[str, ...] = (), path: str = "") -> set[str]:
    """Dotted keys at which two plain configurations differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        found: set[str] = set()
        for key in first.keys() | second.keys():
            if key not in exclude:
                found |= _differences(first.get(key), second.get(key), (), f"{path}.{key}" if path else key)
        return found
    return set() if first == second else {path}


def discard_checkpoints(folder: RunFolder) -> None:
    """Removes the checkpoints of a run that has ended."""
    shutil.rmtree(folder.root / "checkpoints", ignore_errors=True)
