"""Indices whose commands are killed: before or after, nothing between; the same command again makes up for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from crossdistill.errors import CrossDistillError
from crossdistill.search import Index

from .case import Case
from .moments import INDEX_MOMENTS, Moment
from .scene import Outcome, Scene

_ITEMS = 24  # built, and as many added


class _Stage:
    """What one kind of change is made of: the index before it, the command, and the index after it, not killed.

    Args:
        scene: where.
        name: build, add, or replace.
    """

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.name = scene, name
        self.folder = scene.fresh().parent
        files = sorted((scene.folder / "pairs" / "source").glob("*.png"))[: 2 * _ITEMS]
        (self.folder / "photos").mkdir()
        self.photos = [Path(shutil.copy2(file, self.folder / "photos")) for file in files]
        self.before = self.folder / "before" / "index"
        after = self.folder / "after" / "index"
        if name != "build":
            self.run(["index", "build", str(scene.reference), *map(str, self.photos[:_ITEMS]), "--out", self.before])
            shutil.copytree(self.before, after)
        if name == "replace":  # one item becomes another
            shutil.copy2(self.photos[-1], self.photos[3])
        self.run(self.command(after))
        self.after = content(after)

    def command(self, index: Path) -> list[Any]:
        """That changes an index."""
        if self.name == "build":
            return ["index", "build", self.scene.reference, *self.photos, "--out", index]
        return ["index", "add", index, *self.photos]

    def run(self, command: list[Any]) -> None:
        """A command that nothing happens to."""
        ended = self.scene.launcher.run([*map(str, command)])
        if ended.code:
            raise RuntimeError(f"a command that nothing happens to fails:\n{ended.text}")

    def killed_at(self, moment: Moment) -> Outcome:
        """The change of a copy of the index, killed."""
        case = Case(self.scene, "SIGKILL in an index", f"{moment.stage}: {moment.name}",
                    "as before or as after it, then as without it")  # fmt: skip
        index = self.scene.fresh().parent / "index"
        if self.name != "build":
            shutil.copytree(self.before, index)
        command = [*map(str, self.command(index))]
        struck = self.scene.launcher.run(command, [moment.hook])
        case.seconds += struck.seconds
        case.need(struck.killed, f"it was not killed, but ended with code {struck.code}")
        if self.name != "build":
            case.need(
                content(index) in (content(self.before), self.after), "the index is neither as before nor as after"
            )
        case.ended(self.scene.launcher.run(command), 0)
        case.need(content(index) == self.after, "the index is another one than without the kill")
        shutil.rmtree(index.parent)
        return case.outcome()


def index_faults(scene: Scene, moments: Iterable[Moment] = INDEX_MOMENTS) -> Iterator[Outcome]:
    """All cases."""
    stages: dict[str, _Stage] = {}
    for moment in moments:
        if moment.stage not in stages:
            stages[moment.stage] = _Stage(scene, moment.stage)
        yield stages[moment.stage].killed_at(moment)
    for stage in stages.values():
        shutil.rmtree(stage.folder)


def content(folder: Path) -> dict[str, bytes] | str:
    """All that counts of an index that opens; else what is wrong with it."""
    try:
        index = Index.open(folder)
    except CrossDistillError as error:
        return str(error)
    tables = [table.file for table in index.description.tables]
    return {name: (folder / name).read_bytes() for name in [*tables, "index.json"]} | {"": index.vectors.tobytes()}
