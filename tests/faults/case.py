"""One case of a fault: the conditions that have to hold, in order, and what came of them."""

from __future__ import annotations

import re
from pathlib import Path

from .checks import differences, half_files
from .kills import last_lines
from .launch import Ended
from .scene import Outcome, Scene


class Case:
    """Notes what went otherwise than it should.

    Args:
        scene: where.
        kind: of fault.
        moment: when, or where, it strikes.
        expected: what has to happen, for the table.
    """

    def __init__(self, scene: Scene, kind: str, moment: str, expected: str) -> None:
        self.scene, self.kind, self.moment, self.expected = scene, kind, moment, expected
        self.problems: list[str] = []
        self.seconds = 0.0

    def need(self, holds: bool, otherwise: str) -> None:
        """A condition."""
        if not holds:
            self.problems.append(otherwise)

    def ended(self, ended: Ended, code: int, *texts: str) -> Ended:
        """A process that had to end with a code and one message that has all of some expressions; no traceback."""
        self.seconds += ended.seconds
        self.need(not ended.hung, f"it hung: {last_lines(ended.text)}")
        self.need(ended.code == code, f"code {ended.code} instead of {code}: {last_lines(ended.text)}")
        ours = r"Traceback(.|\n)*crossdistill/|Fatal Python error"
        self.need(not re.search(ours, ended.text), f"a traceback: {last_lines(ended.text)}")
        self.need(ended.text.count("error: ") <= 1 or code < 0, "several messages")
        for text in texts:
            self.need(re.search(text, ended.text) is not None, f"no word of {text!r}: {last_lines(ended.text)}")
        return ended

    def whole(self, out: Path) -> None:
        """No half file under a final name."""
        self.problems += half_files(out)

    def equals(self, out: Path, reference: Path | None = None) -> None:
        """The run has the bits of the reference."""
        self.problems += differences(reference or self.scene.reference, out)

    def finishes(self, out: Path, *texts: str) -> None:
        """The same command again runs to the end, with the bits of the reference."""
        ended = self.ended(self.scene.launcher.run(self.scene.arguments(out)), 0, *texts)
        if ended.code == 0:
            self.equals(out)

    def outcome(self, said: str = "as expected") -> Outcome:
        """For the table."""
        told = "; ".join(self.problems[:4]) or said
        return Outcome(self.kind, self.moment, self.expected, told, not self.problems, round(self.seconds, 1))

    def skipped(self, why: str) -> Outcome:
        """For the table, where it cannot be tried here."""
        return Outcome(self.kind, self.moment, self.expected, f"skipped: {why}", True, round(self.seconds, 1), 0)
