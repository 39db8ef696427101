"""Every setting of the configuration, from its models, where a page says ``<!-- generated: settings -->``."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from crossdistill.modalities import Modality, known_modalities, modality_class
from crossdistill.objectives.registry import known_objectives, objective_class
from crossdistill.pipeline import RunConfig

MARK = "<!-- generated: settings -->"

_SAME_AS = {
    "source": "a modality, see below",
    "target": "a modality, see below",
    "objective": "an objective, see below, or a list of terms",
    "baselines": "a list of objectives",
}
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "a multiple of"}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the settings where the mark is."""
    return markdown.replace(MARK, settings()) if MARK in markdown else markdown


@cache
def settings() -> str:
    """All sections, modalities and objectives as tables below a second-level heading."""
    parts = ["### The top level", *_table(RunConfig, skip=set())]
    for name, field in RunConfig.model_fields.items():
        inner = _model(field.annotation)
        if inner is not None and name not in _SAME_AS:
            parts += _section(inner, name)
    for name in known_modalities():
        parts += _section(modality_class(name), f"{{modality: {name}}}", skip={"modality"})
    for name in known_objectives():
        parts += _objective(name)
    return "\n\n".join(parts)


def _section(model: type[BaseModel], title: str, skip: frozenset[str] | set[str] = frozenset()) -> Iterator[str]:
    """A model's table, then those of the models in it."""
    yield f"### {title}"
    yield _first_sentence(model)
    yield from _table(model, skip)
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        if inner is not None:
            yield f"`{field.alias or name}` in it:"
            yield from _table(inner, skip=set())


def _table(model: type[BaseModel], skip: frozenset[str] | set[str]) -> Iterator[str]:
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    documented = _documented(model.__doc__, "attributes")
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        inner = _model(field.annotation)
        meaning = field.description or documented.get(name) or ("" if inner is None else _first_sentence(inner))
        known = _SAME_AS.get(name) if model is RunConfig else None
        rows.append(_row(f"`{field.alias or name}`", known or _values(field), _default(field), meaning))
    yield "\n".join(rows)


def _objective(name: str) -> Iterator[str]:
    kind = objective_class(name)
    yield f"### {{name: {name}}}"
    yield _first_sentence(kind)
    documented = _documented(kind.__doc__, "parameters")
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for parameter in list(inspect.signature(kind.__init__, eval_str=True).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        values = _kind(parameter.annotation)
        rows.append(
            _row(f"`{parameter.name}`", values, f"`{_shown(parameter.default)}`", documented.get(parameter.name, ""))
        )
    if len(rows) > 2:
        yield "\n".join(rows)


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(each, key)}"
        for each in field.metadata
        for key, sign in _SIGNS.items()
        if getattr(each, key, None) is not None
    ]
    return ", ".join([_kind(field.annotation), *bounds])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    """A value as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_shown(each) for each in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(each)}" for key, each in value.items()) + "}"
    return str(value)


def _kind(annotation: Any) -> str:
    """What may stand there, in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(each) for each in inner))
    if origin in (list, tuple):
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            return "section"
        names = {
            str: "text",
            int: "whole number",
            float: "number",
            bool: "`true`, `false`",
            Path: "path",
            type(None): "`null`",
        }
        return names.get(annotation, annotation.__name__)
    return str(annotation)


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if annotation is Modality else annotation
    return next((found for each in get_args(annotation) if (found := _model(each)) is not None), None)


def _first_sentence(kind: type) -> str:
    """The first paragraph of a docstring."""
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _documented(text: str | None, section: str) -> dict[str, str]:
    """What a docstring's section says of each name."""
    parsed = griffe.Docstring(inspect.cleandoc(text or "")).parse("google", warnings=False)
    return {each.name: each.description for part in parsed if part.kind.value == section for each in part.value}
