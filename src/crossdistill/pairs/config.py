"""The ``pairs:`` section of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossdistill.pairs.readers.arrays import ArraysConfig
from crossdistill.pairs.readers.shards import WebDatasetConfig
from crossdistill.pairs.readers.tables import HubConfig


class SplitConfig(BaseModel):
    """How pairs without a ``split`` column are divided. Groups are never separated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    val: float = Field(0.1, ge=0, lt=1, description="fraction held out for monitoring")
    test: float = Field(0.2, gt=0, lt=1, description="fraction held out for the results")
    seed: int = Field(0, description="of the division")

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val and test leave nothing for training")
        return self


class PairsConfig(BaseModel):
    """Where the pairs come from, and what is done about items that cannot be read.

    Exactly one of ``manifest``, ``builtin``, ``dataset``, ``webdataset``, ``arrays``, ``hub``, or ``source`` with
    ``target``. A plain string stands for ``{builtin: NAME}`` where a built-in set has that name, else for
    ``{manifest: PATH}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: Path | None = Field(None, description="CSV or Parquet: source,target[,label,split,group,mask]")
    builtin: str | None = Field(None, description="name of a built-in set, see `crossdistill data list`")
    options: dict[str, Any] = Field(default_factory=dict, description="of the built-in set")
    package: Path | None = Field(None, description="package file or folder that the built-in set is made from")
    dataset: dict[str, Any] | None = Field(None, description="{name: NAME, root: FOLDER, ...}, see docs/datasets.md")
    webdataset: WebDatasetConfig | None = None
    arrays: ArraysConfig | None = None
    hub: HubConfig | None = None
    source: Path | None = Field(None, description="folder of source items")
    target: Path | None = Field(None, description="folder of target items with the same file stems")
    label: Literal["parent"] | None = Field(None, description="two folders: the sub-folder's name is the label")
    group: Literal["parent"] | None = Field(None, description="two folders: the sub-folder's name is the group")
    unpaired_source: Path | None = Field(None, description="folder of more source items, without partners")
    unpaired_target: Path | None = Field(None, description="folder of more target items")
    labelled_target: Path | None = Field(None, description="folder of a sub-folder a class, with target items")
    split: SplitConfig = Field(default_factory=SplitConfig)
    measure_on: Literal["test", "val"] = Field(
        "test", description="val: the test rows are put away and the val rows take their place, to choose settings by"
    )
    corrupt: Literal["error", "skip"] = Field("error", description="what is done about items that cannot be read")
    corrupt_limit: float = Field(0.01, ge=0, le=1, description="share of the rows that may be skipped")

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
        origins = [name for name in _ORIGINS if getattr(self, name) is not None]
        if len(origins) + folders != 1:
            raise ValueError(f"give exactly one of: {', '.join(_ORIGINS)}, or source and target (two folders)")
        if folders and (self.source is None or self.target is None):
            raise ValueError("two folders need both source and target")
        if not folders and (self.label or self.group):
            raise ValueError("label and group belong to two folders; a manifest has columns for them")
        if self.builtin is None and (self.options or self.package):
            raise ValueError("options and package belong to a built-in set")
        return self

    def resolved(self, base: Path) -> Self:
        """The same with paths made absolute, read relative to ``base`` (the configuration file's folder)."""
        update: dict[str, Any] = {
            name: (base / value).resolve() for name in _PATHS if (value := getattr(self, name)) is not None
        }
        for name in ("arrays", "webdataset", "hub"):
            if (reader := getattr(self, name)) is not None:
                update[name] = reader.resolved(base)
        if self.dataset is not None:
            from crossdistill.pairs.datasets import field_set

            known = field_set(str(self.dataset.get("name", ""))).options.model_fields
            update["dataset"] = {
                key: str((base / value).resolve()) if key in known and "Path" in str(known[key].annotation) else value
                for key, value in self.dataset.items()
            }
        return self.model_copy(update=update)


_ORIGINS = ("manifest", "builtin", "dataset", "webdataset", "arrays", "hub")
_PATHS = ("manifest", "package", "source", "target", "unpaired_source", "unpaired_target", "labelled_target")
