"""Building a set in a test, and comparing what two builds wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from crossdistill.pairs import Pair
from crossdistill.pairs.builtin import open_builtin


def module_of(name: str) -> ModuleType:
    return import_module(f"crossdistill.pairs.builtin.{name.replace('-', '_')}")


def content(folder: Path) -> dict[str, bytes]:
    """All files below ``folder``."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def resumed(
    monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, jobs: int, **settings: Any
) -> tuple[list[object], list[object]]:
    """Builds ``name`` until it breaks down after ``jobs`` jobs, and again to the end; the jobs of both."""
    module = module_of(name)
    write: Callable[..., Sequence[Pair]] = module._write
    first: list[object] = []
    second: list[object] = []

    def breaking(place: Path, options: object, job: object) -> Sequence[Pair]:
        if len(first) == jobs:
            raise KeyboardInterrupt
        first.append(job)
        return write(place, options, job)

    def counting(place: Path, options: object, job: object) -> Sequence[Pair]:
        second.append(job)
        return write(place, options, job)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", breaking)
        with pytest.raises(KeyboardInterrupt):
            open_builtin(name, folder, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", counting)
        open_builtin(name, folder, **settings)
    return first, second
