"""Objectives by name. Every file beside this one that ends in ``OBJECTIVE = ...`` is known by its own name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from crossdistill.errors import ConfigError, nearest
from crossdistill.objectives.core import Objective
from crossdistill.objectives.weighted_sum import WeightedSum
from crossdistill.validation import validated

SUM = "weighted_sum"
_NOT_ALONE = {"registry", SUM}
_TWO_VIEWS = {"info_nce", "paws"}  # of one item, which distillation does not have
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


def known_objectives() -> list[str]:
    """Names that a configuration may use for distillation."""
    here = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted({module.name for module in here if not module.ispkg} - _NOT_ALONE - _TWO_VIEWS)


def objective_class(name: str) -> type[Objective]:
    """The class of the objective called ``name``.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in known_objectives():
        raise ConfigError("Unknown objective.", received=name, expected=nearest(name, known_objectives()))
    found: type[Objective] = importlib.import_module(f"crossdistill.objectives.{name}").OBJECTIVE
    return found


class ObjectiveConfig(BaseModel):
    """``objective: {name: cmcd, temperature: 0.07}``: a name and the arguments of that objective's class.

    A list is a weighted sum: ``objective: [{name: cmc}, {name: l2, weight: 0.5}]``. All arguments are resolved, so that
    the written configuration shows the defaults too.

    Attributes:
        name: of the objective's file; ``weighted_sum`` for a list.
        label: what results call it; by default the name, or the terms' names joined by ``+``. It tells apart two
            objectives of one name and different arguments.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "cmcd"
    label: str = ""

    @model_validator(mode="before")
    @classmethod
    def _check_arguments(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, list):
            value = {"name": SUM, "terms": value}
        if not isinstance(value, dict):
            return value
        name = str(value.get("name", "cmcd"))
        common = {key: item for key, item in value.items() if key in cls.model_fields and item is not None}
        arguments = {key: item for key, item in value.items() if key not in cls.model_fields}
        if name == SUM:
            settings = validated(_Terms, arguments, "objective")
            common.setdefault("label", "+".join(term.name for term in settings.terms))
            return {**common, "name": name, "terms": [term.model_dump() for term in settings.terms]}
        common.setdefault("label", name)
        return {**common, "name": name, **validated(_settings(name), arguments, "objective").model_dump()}

    @model_validator(mode="after")
    def _check_label(self) -> Self:
        if not _LABEL.fullmatch(self.label):
            raise ValueError(
                f"label {self.label!r} names a folder: letters, digits, '.', '_', '+' and '-' alone, 64 at most"
            )
        self.build()  # refuses arguments that do not go together now, and not after stage 1
        return self

    @property
    def names(self) -> list[str]:
        """The objectives in it: its name, or those of a sum's terms."""
        if self.name != SUM:
            return [self.name]
        return [name for term in self._terms for name in term.names]

    @property
    def _terms(self) -> list[Term]:
        return [Term.model_validate(term) for term in (self.model_extra or {})["terms"]]

    def build(self) -> Objective:
        """The objective, ready to use on two ``(B, d)`` tensors."""
        arguments = self.model_extra or {}
        if self.name == SUM:
            return WeightedSum([(term.weight, term.build()) for term in self._terms])
        return objective_class(self.name)(**arguments)


class Term(ObjectiveConfig):
    """One objective of a sum.

    Attributes:
        weight: its factor.
    """

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)


class _Terms(BaseModel):
    model_config = ConfigDict(extra="forbid")

    terms: list[Term] = Field(min_length=1)


def _settings(name: str) -> type[BaseModel]:
    """A model of the arguments of an objective, read off its constructor's signature."""
    fields: dict[str, Any] = {}
    signature = inspect.signature(objective_class(name).__init__, eval_str=True)
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        fields[parameter.name] = (parameter.annotation, parameter.default)
    return create_model(f"{name} objective", __config__=ConfigDict(extra="forbid"), **fields)
