"""How a data set is built into a folder: in parallel, resumable, with its licence beside it.

A folder under construction holds ``.parts/``; one that is done holds ``manifest.csv`` and ``dataset.json``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from crossdistill.console import track
from crossdistill.errors import MissingDependencyError, PairsError
from crossdistill.files import read_json, write_json
from crossdistill.pairs.making.package import Package, open_package
from crossdistill.pairs.table import Licence, Pair, Pairs

ABOUT = "dataset.json"
MANIFEST = "manifest.csv"
_CHUNK = 32  # jobs in a part

Job = TypeVar("Job")
Options = TypeVar("Options", bound=BaseModel)


class NoOptions(BaseModel):
    """Of a set that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, kw_only=True)
class BuiltinSet(Generic[Options]):
    """A data set that can be made here.

    Attributes:
        summary: one line for ``crossdistill data list``.
        licence: of the data.
        build: writes the files of the set into ``Site.folder`` and returns its rows.
        version: of what ``build`` writes; a change of it changes this.
        options: settings of the set, all with defaults.
        package: a package file that the user fetches; None needs nothing but Python packages.
        distributions: Python packages that decide what is built; their versions belong to the set's identity.
        extra: what of crossdistill to install for them.
        source, target: settings of the two modalities that fit the set.
    """

    name: str
    summary: str
    licence: Licence
    version: str
    build: Callable[[Site[Options]], Sequence[Pair]]
    options: type[Options]
    package: Package | None = None
    distributions: tuple[str, ...] = ()
    extra: str = ""
    source: dict[str, Any] = field(default_factory=lambda: {"modality": "image"})
    target: dict[str, Any] = field(default_factory=lambda: {"modality": "image"})

    def identity(self, options: Options) -> dict[str, Any]:
        """What decides the content of the set, beside the package file."""
        try:
            versions = {name: version(name) for name in self.distributions}
        except PackageNotFoundError as error:
            raise MissingDependencyError(
                f"The set '{self.name}' needs a package that is not installed.", received=f"no package {error.name}",
                fix=f"pip install 'crossdistill[{self.extra}]'",
            ) from error  # fmt: skip
        chosen = options.model_dump(mode="json")
        return {"name": self.name, "version": self.version, "options": chosen, "packages": versions}


@dataclass(frozen=True)
class Site(Generic[Options]):
    """Where a set is under construction.

    Attributes:
        folder: files go below it; the rows name them by absolute paths.
        options: the set's settings.
        origin: the unpacked package (``Package.holds``), for sets that have one.
        workers: processes.
    """

    folder: Path
    options: Options
    origin: Path | None
    workers: int

    def each(self, title: str, work: Callable[[Path, Options, Job], Sequence[Pair]], jobs: Sequence[Job]) -> list[Pair]:
        """The rows of ``work(folder, options, job)`` for every job, in order; what is done is not done again.

        Args:
            title: for the progress bar.
            work: a function of a module (it is sent to other processes) whose result depends on its arguments alone.
                It writes files below the folder and returns rows that name them.
            jobs: picklable; the same ones in the same order each time.
        """
        parts = self.folder / ".parts"
        chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
        files = [parts / f"{title.replace(' ', '-')}-{number:05}.json" for number in range(len(chunks))]
        missing = [number for number, file in enumerate(files) if not file.is_file()]
        with track(title, len(chunks), len(chunks) - len(missing)) as task:
            arguments = [(work, self.folder, self.options, list(chunks[number]), files[number]) for number in missing]
            if self.workers > 1 and len(missing) > 1:
                with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn")) as pool:
                    for _ in pool.map(_part, arguments):
                        task.advance()
            else:
                for each in arguments:
                    _part(each)
                    task.advance()
        return [_row(self.folder, entry) for file in files for entry in read_json(file)]


def _part(arguments: tuple[Callable[..., Sequence[Pair]], Path, BaseModel, list[Any], Path]) -> None:
    work, folder, options, jobs, file = arguments
    rows = [row for job in jobs for row in work(folder, options, job)]
    write_json(file, [_entry(folder, row) for row in rows])


def _entry(folder: Path, row: Pair) -> dict[str, Any]:
    paths = {name: getattr(row, name) for name in ("source", "target", "mask")}
    shown = {name: None if path is None else Path(path).relative_to(folder).as_posix() for name, path in paths.items()}
    return {**shown, "label": row.label, "split": row.split, "group": row.group, "where": row.where}


def _row(folder: Path, entry: dict[str, Any]) -> Pair:
    paths = {name: None if entry[name] is None else folder / entry[name] for name in ("source", "target", "mask")}
    return Pair(**{**entry, **paths})


def build_set(chosen: BuiltinSet[Any], folder: Path, options: BaseModel, given: Path | None, workers: int) -> None:
    """Builds ``chosen`` into ``folder``; goes on where an interrupted build stopped.

    Raises:
        PairsError: the folder holds something else, or the package is missing.
        MissingDependencyError: a Python package is missing.
        StorageError: the disk is full.
    """
    identity = chosen.identity(options)
    origin = open_package(chosen.package, given) if chosen.package is not None else None
    begun = folder / ".parts" / "identity.json"
    if begun.is_file():
        if read_json(begun) != identity:
            raise PairsError("Another set was begun in this folder.", where=folder, fix="choose another, or delete it")
    elif folder.exists() and any(folder.iterdir()):
        raise PairsError("The folder is not empty.", where=folder, fix="choose another folder, or delete this one")
    else:
        write_json(begun, identity)
    rows = chosen.build(Site(folder, options, origin, workers))
    pairs = Pairs(tuple(rows), name=chosen.name)
    write_json(
        folder / ABOUT,
        {**identity, "summary": chosen.summary, "licence": asdict(chosen.licence), "source": chosen.source,
         "target": chosen.target, "made_from": None if chosen.package is None else chosen.package.name},
    )  # fmt: skip
    pairs.to_csv(folder / MANIFEST, base=folder)
    shutil.rmtree(folder / ".parts")


def is_built(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether the folder holds this very set, whole.

    Raises:
        PairsError: it holds another one.
    """
    if not (folder / MANIFEST).is_file():
        return False
    about = read_json(folder / ABOUT) if (folder / ABOUT).is_file() else {}
    if any(about.get(key) != value for key, value in identity.items()):
        differing = [key for key, value in identity.items() if about.get(key) != value]
        raise PairsError(
            "The folder holds another data set.", where=folder, received=f"these differ: {', '.join(differing)}",
            fix="choose another folder, or delete this one",
        )  # fmt: skip
    return True


def cache_key(identity: dict[str, Any]) -> str:
    """A short name of an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


@contextmanager
def imports(name: str, extra: str) -> Iterator[None]:
    """Turns a missing import of the set ``name`` into one message."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            f"The set '{name}' needs a package that is not installed.", received=f"no module {error.name!r}",
            fix=f"pip install 'crossdistill[{extra}]'",
        ) from error  # fmt: skip
