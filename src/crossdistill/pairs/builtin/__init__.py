"""Built-in data sets: one file each, which holds a ``DATASET`` of type :class:`BuiltinSet`."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from crossdistill.errors import ConfigError, nearest
from crossdistill.pairs.making.build import MANIFEST, BuiltinSet, build_set, cache_key, is_built
from crossdistill.pairs.table import Pairs
from crossdistill.validation import validated


def known_sets() -> list[str]:
    """Names of all built-in sets: the files of this folder."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def builtin_set(name: str) -> BuiltinSet[Any]:
    """The built-in set called ``name``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in known_sets():
        raise ConfigError("Unknown built-in data set.", received=name, expected=nearest(name, known_sets()))
    found: BuiltinSet[Any] = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").DATASET
    return found


def open_builtin(
    name: str,
    folder: Path | None = None,
    *,
    options: dict[str, Any] | None = None,
    package: Path | None = None,
    workers: int = 1,
) -> Pairs:
    """Builds the set into ``folder`` (default: the cache), unless it is there already, and reads it.

    Args:
        name: one of :func:`known_sets`.
        folder: where to build it.
        options: the set's settings, where they differ from its defaults.
        package: the package file or folder that it is made from, for sets that need one.
        workers: processes.

    Raises:
        ConfigError: an unknown set or option.
        PairsError, MissingDependencyError, StorageError: see :func:`crossdistill.pairs.making.build.build_set`.
    """
    from crossdistill.files import cache_folder
    from crossdistill.pairs.readers.manifest import read_manifest

    chosen = builtin_set(name)
    settings = validated(chosen.options, options or {}, f"options of {name}")
    identity = chosen.identity(settings)
    place = folder or cache_folder() / "data" / f"{name}-{cache_key(identity)}"
    if not is_built(place, identity):
        build_set(chosen, place, settings, package, workers)
    return read_manifest(place / MANIFEST)
