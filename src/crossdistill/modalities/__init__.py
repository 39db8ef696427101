"""Modalities: one file each. ``parse_modality`` turns a configuration section into the right one."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from crossdistill.errors import ConfigError, nearest
from crossdistill.modalities.base import InputDefaults, Modality
from crossdistill.validation import validated

__all__ = ["InputDefaults", "Modality", "known_modalities", "parse_modality"]


_PARTS = {
    "base", "curves", "geometry", "image_augment", "raster", "raster_file", "series_augment",
    "series_file", "series_window", "square", "vector_file", "video_file",
}  # fmt: skip


def known_modalities() -> list[str]:
    """Names of all modalities: the files of this folder that are no part of another one (``square``)."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _PARTS)


def modality_class(name: str) -> type[Modality]:
    """The class of the modality called ``name``.

    Raises:
        ConfigError: there is no such modality.
    """
    if name not in known_modalities():
        raise ConfigError("Unknown modality.", received=name, expected=nearest(name, known_modalities()))
    module = importlib.import_module(f"{__name__}.{name}")
    found: type[Modality] = module.MODALITY
    return found


def parse_modality(section: Any, where: str = "modality") -> Modality:
    """A modality from a configuration section such as ``{modality: image, size: 96}``.

    Raises:
        ConfigError: it is no mapping, names no known modality, or has a wrong setting; ``where`` names the section.
    """
    if isinstance(section, Modality):
        return section
    if not isinstance(section, dict):
        raise ConfigError(
            "A modality is a mapping.",
            where=where,
            expected="for instance {modality: image, size: 96}",
            received=repr(section),
        )
    chosen = modality_class(str(section.get("modality", "image")))
    return validated(chosen, {"modality": "image", **section}, where)
