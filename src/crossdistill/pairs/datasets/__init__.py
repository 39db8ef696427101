"""Data sets of the field that the user brings: one file each, which holds a ``DATASET`` of type :class:`FieldSet`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from crossdistill.errors import ConfigError, nearest
from crossdistill.pairs.field.base import FieldSet
from crossdistill.pairs.table import Pairs
from crossdistill.validation import validated


def known_datasets() -> list[str]:
    """Names of all sets: the files of this folder."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def field_set(name: str) -> FieldSet[Any]:
    """The set called ``name``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in known_datasets():
        raise ConfigError("Unknown data set.", received=name, expected=nearest(name, known_datasets()))
    found: FieldSet[Any] = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").DATASET
    return found


def open_dataset(name: str, options: dict[str, Any]) -> Pairs:
    """Reads a set from the user's folder.

    Args:
        name: one of :func:`known_datasets`.
        options: its settings, ``root`` among them.

    Raises:
        ConfigError: an unknown set or option.
        PairsError: the set is not there, damaged, or not whole.
        MissingDependencyError: a package is missing.
    """
    chosen = field_set(name)
    return chosen.open(validated(chosen.options, options, f"options of {name}"))
