"""Built-in data sets: one file each, which holds a ``DATASET`` of type :class:`BuiltinSet`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossdistill.errors import ConfigError, nearest
from crossdistill.pairs.table import Licence, Pairs


@dataclass(frozen=True, kw_only=True)
class BuiltinSet:
    """A data set that we can build.

    Attributes:
        summary: one line for ``crossdistill data list``.
        licence: of the data.
        build: writes ``manifest.csv`` and its files into a folder.
        version: names the cache folder; a change of what ``build`` writes changes it.
    """

    name: str
    summary: str
    licence: Licence
    version: str
    build: Callable[[Path], None]


def known_sets() -> list[str]:
    """Names of all built-in sets: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def builtin_set(name: str) -> BuiltinSet:
    """The built-in set called ``name``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in known_sets():
        raise ConfigError("Unknown built-in data set.", received=name, expected=nearest(name, known_sets()))
    found: BuiltinSet = importlib.import_module(f"{__name__}.{name}").DATASET
    return found


def open_builtin(name: str, folder: Path | None = None) -> Pairs:
    """Builds the set into ``folder`` (default: the cache), unless it is there already, and reads it."""
    from crossdistill.files import cache_folder
    from crossdistill.pairs.manifest import read_manifest

    chosen = builtin_set(name)
    place = folder or cache_folder() / "data" / f"{name}-{chosen.version}"
    if not (place / "manifest.csv").is_file():  # written last, so a folder that has it is whole
        chosen.build(place)
    pairs = read_manifest(place / "manifest.csv")
    return Pairs(pairs.rows, name=name, licence=chosen.licence)
