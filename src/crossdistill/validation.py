"""Pydantic's complaints as one clear message: the key, what was expected, and the nearest valid name."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from crossdistill.errors import ConfigError, nearest

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], value: Any, where: str = "") -> Model:
    """``value`` as a ``model``.

    Args:
        model: a pydantic class.
        value: usually a mapping from YAML.
        where: the section's name, put before every key in messages.

    Raises:
        ConfigError: it does not fit; the first problem is told in full and the others are listed by key.
    """
    _check_characters(value, where)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _explain(error, model, where) from error


def _check_characters(value: Any, key: str, seen: set[int] | None = None) -> None:
    """No text of a configuration may hold a zero character: YAML can write one, and no file's name can have it.

    ``seen`` are the containers that were looked at: in YAML one may hold another many times, and even itself.
    """
    seen = set() if seen is None else seen
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(
            "A setting is wrong.", where=key or "the configuration", expected="text without the character \\0",
            received=_short(value),
        )  # fmt: skip
    if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        for name, each in value.items():
            _check_characters(name, key, seen)
            _check_characters(each, f"{key}.{name}" if key else str(name), seen)
    else:
        for each in value:
            _check_characters(each, key, seen)


def _explain(error: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
    problems = error.errors()
    first = problems[0]
    path = _path(first["loc"])
    key = ".".join(([where] if where else []) + path) or "the configuration"
    others = [".".join(([where] if where else []) + _path(problem["loc"])) for problem in problems[1:]]
    fix = f"also wrong: {', '.join(others[:5])}" if others else None
    if first["type"] == "extra_forbidden":
        return ConfigError(
            "Unknown key.", where=key, received=path[-1], expected=nearest(path[-1], _keys(model, path[:-1])), fix=fix
        )
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    received = None if first["type"] == "missing" else _short(first["input"])
    return ConfigError("A setting is wrong.", where=key, expected=message, received=received, fix=fix)


def _path(place: tuple[int | str, ...]) -> list[str]:
    """The keys on the way to a problem; the section of a union has an empty name there, as none is written."""
    return [str(part) for part in place if part != ""]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that are valid at ``path`` below ``model``."""
    for part in path:
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            continue  # an index into a list
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Annotated:
        return _model_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType, list, tuple):
        return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)
    return None
