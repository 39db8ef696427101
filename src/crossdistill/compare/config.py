"""What is compared: the ``compare:`` section of a configuration, or the options of the command."""

from __future__ import annotations

from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossdistill.errors import ConfigError, nearest
from crossdistill.evaluation.config import Control
from crossdistill.objectives import ObjectiveConfig
from crossdistill.objectives.registry import objective_class

CONTROLS: tuple[str, ...] = get_args(Control)

UNTUNED = ("random_student", "initial_student", "teacher_on_target", "teacher_on_source")
"""Controls that nothing is trained for."""


class MethodConfig(BaseModel):
    """One method: an objective or a control, with settings of the run that are its own.

    Attributes:
        objective: as in a run's configuration; None for a control.
        control: a name of ``evaluate.controls``.
        set: settings of the run by dotted key, such as ``{train.epochs: 80}``.
        search: values that are tried for dotted keys, the first is the default; beside those of all methods.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: Any = None
    control: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, list[Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.objective is None) == (self.control is None):
            raise ValueError("a method is an objective or a control: give exactly one of the two")
        if self.control is not None and self.control not in CONTROLS:
            raise ValueError(f"unknown control {self.control!r}, expected one of {', '.join(CONTROLS)}")
        if any(not values for values in self.search.values()):
            raise ValueError("a key of search has no values")
        return self

    @property
    def tuned(self) -> bool:
        """Whether anything about it can be chosen."""
        return self.control not in UNTUNED


class CompareConfig(BaseModel):
    """The ``compare:`` section.

    Attributes:
        methods: by name.
        seeds: of the final runs.
        trials: settings that are tried for every method, one seed each, on the validation split; 1: the defaults.
        search: values for dotted keys that every method tries; by default lengths and learning rates.
        select: metrics whose mean decides between trials; by default the first few-shot probe and the mean reciprocal
            rank of retrieval, as far as they are measured.
        reference: the method that all others are compared with; by default the first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    methods: dict[str, MethodConfig] = Field(default_factory=dict)
    seeds: int = Field(5, ge=1, description="of the final runs")
    trials: int = Field(4, ge=1, description="settings tried for each method")
    search: dict[str, list[Any]] | None = None
    select: list[str] = Field(default_factory=list)
    reference: str | None = None

    @model_validator(mode="after")
    def _known_reference(self) -> Self:
        if self.reference is not None and self.methods and self.reference not in self.methods:
            raise ValueError(f"reference {self.reference!r} is none of the methods: {', '.join(self.methods)}")
        return self


def objective_called(name: str) -> dict[str, Any] | list[dict[str, Any]]:
    """What ``l2`` or ``l2+cmc`` stands for in a configuration.

    Raises:
        ConfigError: there is no such objective.
    """
    parts = name.split("+")
    for part in parts:
        objective_class(part)
    return [{"name": part} for part in parts] if len(parts) > 1 else {"name": name}


def named_methods(objectives: list[str], controls: list[str]) -> dict[str, MethodConfig]:
    """Methods from the command line.

    Raises:
        ConfigError: an unknown name, or one that stands there twice.
    """
    names = [*objectives, *controls]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError("A method stands there twice.", where="--objectives", received=", ".join(twice))
    for name in controls:
        if name not in CONTROLS:
            raise ConfigError("Unknown control.", where="--controls", received=name, expected=nearest(name, CONTROLS))
    return {
        **{name: MethodConfig(objective=objective_called(name)) for name in objectives},
        **{name: MethodConfig(control=name) for name in controls},
    }


def own_search(objective: ObjectiveConfig) -> dict[str, list[Any]]:
    """Values for the arguments of an objective, by dotted key of the run's configuration; none for a sum."""
    if len(objective.names) > 1:
        return {}
    found = dict(objective_class(objective.name).search)
    given = objective.model_extra or {}
    # What the configuration sets is the default of the search, before the values that are usual.
    return {
        f"objective.{key}": [given[key], *(value for value in values if value != given[key])]
        for key, values in found.items()
    }
