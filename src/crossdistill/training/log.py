"""``train.jsonl``: one JSON object a line for steps and epochs of every training of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crossdistill import ranks
from crossdistill.console import warn
from crossdistill.errors import CrossDistillError
from crossdistill.files import storage_errors, write_json, write_text
from crossdistill.training.trackers import Tracker


class TrainLog:
    """The lines of one training (``stage``) in the run's common file. Only the first rank writes.

    Args:
        path: of ``train.jsonl``.
        stage: which training: ``pretrain``, ``distil/cmcd``, ...
        trackers: are told the numbers of the same lines.
    """

    def __init__(self, path: Path, stage: str, trackers: Sequence[Tracker] = ()) -> None:
        self.path = path
        self.stage = stage
        self._trackers = list(trackers)

    def begin(self, step: int) -> None:
        """Drops this stage's lines after ``step``: a resumed training writes them again."""
        if not ranks.is_first():
            return
        if self.path.is_file():
            kept = [line for line in _lines(self.path) if line["stage"] != self.stage or line["step"] <= step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._tell(lambda tracker: tracker.begin(self.stage, step))

    def _tell(self, say: Callable[[Tracker], None]) -> None:
        """Tells all trackers. A service that does not answer is no reason to end a training: it is told no more."""
        for tracker in tuple(self._trackers):
            try:
                say(tracker)
            except CrossDistillError:
                raise
            except Exception as error:  # whatever a service's client raises
                self._trackers.remove(tracker)
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                warn(f"{type(tracker).__name__} is told no more of {self.stage}, as it fails: {reason}")

    def profile(self, summary: dict[str, Any]) -> None:
        """Writes where the time of the steps went, to ``profile/STAGE.json``."""
        if ranks.is_first():
            write_json(self.path.parent / "profile" / f"{self.stage.replace('/', '-')}.json", summary)

    def add(self, kind: str, epoch: int, step: int, values: dict[str, Any]) -> None:
        """Appends a line; ``kind`` is ``step``, ``epoch``, or ``skip`` for a step that could not be taken."""
        if not ranks.is_first():
            return
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}
        named = {f"{kind}/{name}" if kind != "step" else name: value for name, value in numbers.items()}
        self._tell(lambda tracker: tracker.add(self.stage, step, named))
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
