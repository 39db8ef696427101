"""Counts what has to be typed: the files of a package's folder are exactly that, so that no number is made by hand."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TITLES = {
    "crossdistill": "crossdistill",
    "lightly_train": "lightly-train",
    "torchdistill": "torchdistill",
    "open_clip": "open_clip",
}
NOT_TYPED = ("stand_in.py",)  # what takes the place of a download when the commands are tried


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a package asks for, from ``pip install`` to the first own result.

    Attributes:
        commands: on the command line.
        settings: options and ``key=value`` among them.
        configuration: lines of YAML that are neither empty nor a comment.
        code: lines of Python as its parser writes them, a statement a line: no comments, docstrings and empty lines.
    """

    commands: int
    settings: int
    configuration: int
    code: int


def typed(name: str) -> dict[str, str]:
    """The files that a reader types, by name: the commands first."""
    paths = sorted((HERE / name).iterdir(), key=lambda path: (path.suffix != ".sh", path.name))
    return {path.name: path.read_text(encoding="utf-8") for path in paths if _counts(path)}


def _counts(path: Path) -> bool:
    return path.suffix in (".sh", ".yaml", ".py") and path.name not in NOT_TYPED


def effort(name: str) -> Effort:
    """Counts a package's files."""
    files = typed(name)
    commands = lines(files["commands.sh"])
    words = [word for command in commands for word in shlex.split(command)[1:]]
    return Effort(
        commands=len(commands),
        settings=sum(bool(re.match(r"-{1,2}[a-z]|[\w.]+=", word)) for word in words),
        configuration=sum(len(lines(text)) for file, text in files.items() if file.endswith(".yaml")),
        code=sum(code_lines(text) for file, text in files.items() if file.endswith(".py")),
    )


def lines(text: str) -> list[str]:
    """Lines that are neither empty nor a comment; continued ones are one."""
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def code_lines(text: str) -> int:
    """Lines of code, however they are wrapped."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return sum(bool(line) for line in ast.unparse(tree).split("\n"))
