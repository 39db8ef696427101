"""Modalities by name: the files of this folder, those of installed packages, and those that a program registers.

A package makes its modalities known by an entry point, without any change here::

    [project.entry-points."crossdistill.modalities"]
    touch_pad = "touch_pad:TouchPad"

A name of this folder cannot be taken by another package, so an encoder of ours is always read as it was written.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from crossdistill.errors import ConfigError, nearest
from crossdistill.modalities.base import Modality

ENTRY_POINTS = "crossdistill.modalities"

_PARTS = {
    "base", "contract", "curves", "geometry", "image_augment", "raster", "raster_file", "registry", "series_augment",
    "series_file", "series_window", "square", "vector_file", "video_file",
}  # fmt: skip

_registered: dict[str, type[Modality]] = {}


def known_modalities() -> list[str]:
    """Names of all modalities: of this folder, of installed packages, and registered ones."""
    return sorted({*_built_in(), *_registered, *(point.name for point in _installed())})


def modality_class(name: str) -> type[Modality]:
    """The class of the modality called ``name``.

    Raises:
        ConfigError: there is no such modality, or the package that has it is broken.
    """
    if name in _built_in():
        found: type[Modality] = importlib.import_module(f"crossdistill.modalities.{name}").MODALITY
        return found
    if name in _registered:
        return _registered[name]
    for point in _installed():
        if point.name == name:
            return _loaded(point)
    raise ConfigError(
        "Unknown modality.",
        received=name,
        expected=nearest(name, known_modalities()),
        fix="if it is one of your own, install its package, or call crossdistill.modalities.register(CLASS) first",
    )


def register(kind: type[Modality]) -> type[Modality]:
    """Makes a modality known in this process, by the default of its field ``modality``; also as a decorator.

    For scripts and notebooks. Packages have an entry point in the group ``crossdistill.modalities`` instead, by which
    the command line finds them too.

    Args:
        kind: a subclass of :class:`~crossdistill.modalities.Modality`.

    Returns:
        ``kind`` itself. Registering a name again replaces what had it.

    Raises:
        ConfigError: it is none, it has no name, or the name is one of our own.
    """
    name = _name_of(kind, where=getattr(kind, "__qualname__", repr(kind)))
    if name in _built_in():
        raise ConfigError("A modality's name is taken.", where=kind.__qualname__, received=name, fix="choose another")
    _registered[name] = kind
    return kind


def _built_in() -> set[str]:
    return {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])} - _PARTS


def _installed() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)


def _loaded(point: EntryPoint) -> type[Modality]:
    where = f"the package {point.dist.name}" if point.dist else point.value
    try:
        found = point.load()
    except Exception as error:  # whatever another package's code does, it is told with its name
        raise ConfigError(
            "A modality's package cannot be used.", where=where, received=f"{type(error).__name__}: {error}",
            fix=f"mend or uninstall it; its entry point is {point.name} = {point.value!r}",
        ) from error  # fmt: skip
    name = _name_of(found, where)
    if name != point.name:
        raise ConfigError(
            "A modality goes by two names.", where=where, expected=f"modality: Literal[{point.name!r}]",
            received=repr(name), fix="the entry point's name and the class's field have to be the same",
        )  # fmt: skip
    kind: type[Modality] = found
    return kind


def _name_of(kind: object, where: str) -> str:
    if not (isinstance(kind, type) and issubclass(kind, Modality)):
        raise ConfigError(
            "That is no modality.", where=where, expected="a subclass of crossdistill.modalities.Modality",
            received=repr(kind),
        )  # fmt: skip
    name = kind.model_fields["modality"].default
    if not isinstance(name, str) or not name:
        raise ConfigError(
            "A modality has no name.",
            where=where,
            expected='a field such as modality: Literal["touch_pad"] = "touch_pad"',
        )
    return name
