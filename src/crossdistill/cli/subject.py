"""What PAIRS and --teacher name, for the commands that look at pairs before any run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import yaml

from crossdistill.encoders import Encoder, TeacherConfig, build_teacher
from crossdistill.encoders.build import encoder_folder
from crossdistill.encoders.weights import PACKAGED
from crossdistill.errors import ConfigError, PairsError, nearest
from crossdistill.files import read_json
from crossdistill.modalities import Modality, parse_modality
from crossdistill.pairs import PairsConfig
from crossdistill.pairs.builtin import builtin_set, known_sets
from crossdistill.pairs.making.build import ABOUT, MANIFEST
from crossdistill.pipeline import load_config
from crossdistill.pipeline.config import PRETRAINED_HERE
from crossdistill.validation import validated

_NO_TEACHER = "none"


@dataclass(frozen=True)
class Subject:
    """Pairs and the settings that belong to them."""

    pairs: PairsConfig
    source: Modality
    target: Modality
    teacher: TeacherConfig | None = None


def subject_of(given: str) -> Subject:
    """What PAIRS names: a configuration, a manifest or its folder, or a built-in set."""
    path = Path(given)
    if path.suffix.lower() in (".yaml", ".yml"):
        config = load_config(path)
        return Subject(config.pairs, config.source, config.target, config.teacher)
    if not path.exists() and given in known_sets():
        known = builtin_set(given)
        return Subject(PairsConfig(builtin=given), parse_modality(known.source), parse_modality(known.target))
    manifest = path / MANIFEST if path.is_dir() else path
    if not manifest.is_file():
        raise PairsError(
            "There are no such pairs.", where=manifest,
            expected=f"a manifest, a folder with {MANIFEST}, a configuration, or one of {', '.join(known_sets())}",
            fix=None if os.sep in given or path.suffix else nearest(given, known_sets()),
        )  # fmt: skip
    about = manifest.with_name(ABOUT)
    settings: dict[str, Any] = read_json(about) if about.is_file() else {}
    sides = [parse_modality(settings.get(name) or {"modality": "image"}, name) for name in ("source", "target")]
    return Subject(PairsConfig(manifest=manifest), sides[0], sides[1])


def modality_of(text: str | None, where: str, default: Modality) -> Modality:
    """A modality as an option gives it: ``NAME`` or ``key=value,...``; ``default`` where it is not given."""
    return default if text is None else parse_modality(_section(text, "modality", where), where)


def sides_of(subject: Subject, source: str | None, target: str | None) -> list[Modality]:
    """Source and target modality: as the options --source and --target give them, else the subject's own."""
    return [
        modality_of(text, f"--{name}", default)
        for name, text, default in (("source", source, subject.source), ("target", target, subject.target))
    ]


def teacher_of(text: str) -> TeacherConfig | None:
    """``none``, weights, a run folder, a backbone's name, or ``key=value,...``."""
    if text == _NO_TEACHER:
        return None
    if "=" in text or text.startswith("{"):
        return validated(TeacherConfig, _section(text, "backbone", "--teacher"), "--teacher")
    if text in PACKAGED or encoder_folder(Path(text)) is not None:
        return TeacherConfig(weights=text)
    if timm.is_model(text):
        return TeacherConfig(backbone=text)
    raise ConfigError(
        "Unknown teacher.", where="--teacher", received=text,
        expected=f"{', '.join(PACKAGED)}, a run folder, a timm name, or backbone=NAME,weights=FILE",
    )  # fmt: skip


def encoder_of(config: TeacherConfig | None, source: Modality) -> Encoder | None:
    """The teacher itself, without any detail: these commands look at its pooled features; None for none."""
    if config is None:
        return None
    if config.weights == PRETRAINED_HERE:
        raise ConfigError(
            "The teacher of this configuration has not been trained yet.", where="teacher.weights: pretrain",
            fix="give one: --teacher RUN after stage 1, --teacher efficientnet-lite0, or --teacher none",
        )  # fmt: skip
    return build_teacher(config.model_copy(update={"detail": None}), source)


def _section(text: str, first: str, where: str) -> dict[str, Any]:
    """``NAME``, ``key=value,key=[1, 2]`` or a YAML mapping as a mapping; a bare name is the value of ``first``."""
    try:
        if text.lstrip().startswith("{"):
            content = yaml.safe_load(text)
        elif "=" in text:
            pairs = [part.partition("=") for part in _parts(text)]
            if not all(sign for _, sign, _ in pairs):
                raise ConfigError(
                    "A part is no key=value.", where=where, received=text, expected="modality=image,size=96"
                )
            content = {key.strip(): yaml.safe_load(value) for key, _, value in pairs}
        else:
            content = {first: text}
    except yaml.YAMLError as error:
        raise ConfigError("A value is not valid YAML.", where=where, received=text) from error
    if not isinstance(content, dict):
        raise ConfigError("This is no mapping.", where=where, received=text, expected="{modality: image, size: 96}")
    return content


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
