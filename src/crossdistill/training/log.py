"""``train.jsonl``: one JSON object a line for steps and epochs of every training of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossdistill.files import storage_errors, write_text


class TrainLog:
    """The lines of one training (``stage``) in the run's common file.

    Args:
        path: of ``train.jsonl``.
        stage: which training: ``pretrain``, ``distil/cmcd``, ...
    """

    def __init__(self, path: Path, stage: str) -> None:
        self.path = path
        self.stage = stage

    def rewind(self, step: int) -> None:
        """Drops this stage's lines after ``step``: a resumed training writes them again."""
        if self.path.is_file():
            kept = [line for line in _lines(self.path) if line["stage"] != self.stage or line["step"] <= step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, kind: str, epoch: int, step: int, values: dict[str, Any]) -> None:
        """Appends a line; ``kind`` is ``step`` or ``epoch``."""
        line = json.dumps({"stage": self.stage, "kind": kind, "epoch": epoch, "step": step, **values})
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")


def read_epochs(path: Path) -> dict[str, list[dict[str, Any]]]:
    """For each stage its epoch lines in order, without what differs from run to run (times)."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for line in _lines(path) if path.is_file() else []:
        if line.pop("kind") == "epoch":
            line.pop("seconds", None)
            curves.setdefault(line.pop("stage"), []).append(line)
    return curves


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            continue  # the machine died while it wrote this line; the resumed training writes it again
    return found
