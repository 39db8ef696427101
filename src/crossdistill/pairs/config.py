"""The ``pairs:`` section of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SplitConfig(BaseModel):
    """How pairs without a ``split`` column are divided. Groups are never separated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    val: float = Field(0.1, ge=0, lt=1, description="fraction held out for monitoring")
    test: float = Field(0.2, gt=0, lt=1, description="fraction held out for the results")
    seed: int = 0

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val and test leave nothing for training")
        return self


class PairsConfig(BaseModel):
    """Where the pairs come from: exactly one of ``manifest``, ``builtin``, or ``source`` with ``target``.

    A plain string stands for ``{builtin: NAME}`` where a built-in set has that name, else for ``{manifest: PATH}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: Path | None = Field(None, description="CSV or Parquet with columns source,target[,label,split,group]")
    builtin: str | None = Field(None, description="name of a built-in set, see `crossdistill data list`")
    source: Path | None = Field(None, description="folder of source items")
    target: Path | None = Field(None, description="folder of target items with the same file stems")
    label: Literal["parent"] | None = Field(None, description="two folders: the sub-folder's name is the label")
    group: Literal["parent"] | None = Field(None, description="two folders: the sub-folder's name is the group")
    split: SplitConfig = Field(default_factory=SplitConfig)

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        if not isinstance(value, (str, Path)):
            return value
        from crossdistill.pairs.builtin import known_sets

        return {"builtin": str(value)} if str(value) in known_sets() else {"manifest": value}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        folders = self.source is not None or self.target is not None
        if sum((self.manifest is not None, self.builtin is not None, folders)) != 1:
            raise ValueError("give exactly one of: manifest, builtin, or source and target (two folders)")
        if folders and (self.source is None or self.target is None):
            raise ValueError("two folders need both source and target")
        if not folders and (self.label or self.group):
            raise ValueError("label and group belong to two folders; a manifest has columns for them")
        return self

    def resolved(self, base: Path) -> Self:
        """The same with paths made absolute, read relative to ``base`` (the configuration file's folder)."""
        paths = {
            name: (base / value).resolve()
            for name in ("manifest", "source", "target")
            if (value := getattr(self, name)) is not None
        }
        return self.model_copy(update=paths)
