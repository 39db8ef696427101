"""What a card reads of the records of a run, checked: a published model may come from anybody, or be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from crossdistill.errors import ConfigError, RunFolderError
from crossdistill.validation import validated


def _metric(name: str) -> str:
    if name.startswith("linear_") and not name.split("_")[1].isdigit():
        raise ValueError("a metric such as linear_5_shot")
    return name


class _Part(BaseModel):
    """Anything else may stand there as well: what a card does not read is passed on as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)


class _Range(_Part):
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class _Measured(_Range):
    items: int


class _Outcome(_Part):
    name: str
    role: str
    description: str
    metrics: dict[Annotated[str, AfterValidator(_metric)], _Measured]


class _Comparison(_Part):
    metric: str
    second: str
    difference: _Range


class _Split(_Part):
    pairs: int
    groups: int | None = None


class _Splits(_Part):
    train: _Split
    val: _Split
    test: _Split


class _Licence(_Part):
    name: str
    attribution: str = ""
    url: str = ""


class _Pairs(_Part):
    name: str
    licence: _Licence | None = None
    classes: int | None = None
    splits: _Splits | None = None
    skipped: int = 0


class _MeasuredPairs(_Pairs):
    classes: int
    splits: _Splits


class _Teacher(_Part):
    backbone: str
    parameters: int
    origin: str


class _Certificate(_Part):
    total_certified: FiniteFloat | None
    delta: FiniteFloat
    bounded: str
    vacuous: bool | None = None
    worse_than_guessing: bool | None = None


class _Results(_Part):
    pairs: _MeasuredPairs
    teacher: _Teacher | None = None
    left_out: dict[str, str] = Field(default_factory=dict)
    outcomes: list[_Outcome] = Field(min_length=1)
    comparisons: list[_Comparison]
    certificates: list[_Certificate] | None = None


class _Objective(_Part):
    name: str = ""
    terms: list[_Objective] | None = None
    weight: FiniteFloat = 1.0

    @model_validator(mode="after")
    def _named(self) -> _Objective:
        if not self.name and not self.terms:
            raise ValueError("a name, or terms")
        return self


class _Train(_Part):
    epochs: int
    batch_size: int
    accumulate: int
    lr: FiniteFloat
    weight_decay: FiniteFloat
    schedule: str
    seed: int


class _Hub(_Part):
    path: Any = None


class _OpenedPairs(_Part):
    hub: _Hub | None = None


class _Configuration(_Part):
    train: _Train
    objective: _Objective
    pairs: _OpenedPairs | None = None
    source: dict[str, Any] | None = None
    target: dict[str, Any] | None = None
    teacher: dict[str, Any] | None = None


class _Environment(_Part):
    crossdistill: str
    python: str
    system: str
    packages: dict[str, str]
    accelerator: str | None = None


class _Facts(_Part):
    configuration: _Configuration | None = None
    changed: dict[str, Any] | None = None
    results: _Results | None = None
    environment: _Environment | None = None
    data: _Pairs | None = None


def check_facts(facts: dict[str, Any], where: Path) -> None:
    """Refuses records that a card cannot be written from.

    Raises:
        RunFolderError: something is missing, or is of another kind.
    """
    try:
        validated(_Facts, facts)
    except ConfigError as error:
        raise RunFolderError(
            "What is recorded of the run is damaged.", where=f"{where}: {error.details.get('where', '')}",
            expected=error.details.get("expected"), received=error.details.get("received"),
            fix="fetch the model again, or publish the run itself again",
        ) from error  # fmt: skip
