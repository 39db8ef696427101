"""Modalities: one file each. ``parse_modality`` turns a configuration section into the right one."""

from __future__ import annotations

from typing import Any

from crossdistill.errors import ConfigError
from crossdistill.modalities.base import InputDefaults, Modality
from crossdistill.modalities.contract import check_modality
from crossdistill.modalities.registry import known_modalities, modality_class, register
from crossdistill.validation import validated

__all__ = [
    "InputDefaults", "Modality", "check_modality", "known_modalities", "modality_class", "parse_modality", "register",
]  # fmt: skip


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
