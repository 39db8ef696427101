"""Objectives by name. Every file beside this one that ends in ``OBJECTIVE = ...`` is known by its own name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model, model_validator
from torch import nn

from crossdistill.errors import ConfigError, nearest
from crossdistill.validation import validated

_NOT_OBJECTIVES = {"registry", "similarity"}
_PRETRAINING = {"info_nce"}  # needs two views of one item, which distillation does not have


def known_objectives() -> list[str]:
    """Names that a configuration may use for distillation."""
    names = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    return sorted(names - _NOT_OBJECTIVES - _PRETRAINING)


def objective_class(name: str) -> type[nn.Module]:
    """The class of the objective called ``name``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in known_objectives():
        raise ConfigError("Unknown objective.", received=name, expected=nearest(name, known_objectives()))
    found: type[nn.Module] = importlib.import_module(f"crossdistill.objectives.{name}").OBJECTIVE
    return found


class ObjectiveConfig(BaseModel):
    """``objective: {name: cmcd, temperature: 0.07}``: a name and the arguments of that objective's class.

    All arguments are resolved, so that the written configuration shows the defaults too.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "cmcd"

    @model_validator(mode="before")
    @classmethod
    def _check_arguments(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            return value
        name = str(value.get("name", "cmcd"))
        arguments = {key: item for key, item in value.items() if key != "name"}
        return {"name": name, **validated(_settings(name), arguments, "objective").model_dump()}

    def build(self) -> nn.Module:
        """The objective, ready to use on two ``(B, d)`` tensors."""
        return objective_class(self.name)(**(self.model_extra or {}))


def _settings(name: str) -> type[BaseModel]:
    """A model of the arguments of an objective, read off its constructor's signature."""
    fields: dict[str, Any] = {}
    signature = inspect.signature(objective_class(name).__init__, eval_str=True)
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        fields[parameter.name] = (parameter.annotation, parameter.default)
    return create_model(f"{name} objective", __config__=ConfigDict(extra="forbid"), **fields)
