"""What is known of a packed matrix beside its bytes: ``NAME.json``, and ``plan.json`` while it is being built."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crossdistill.bank.layout import Dtype, Layout
from crossdistill.errors import RunFolderError
from crossdistill.files import read_json

FORMAT: Literal[2] = 2


class Shard(BaseModel):
    """Some rows in a row, which one process computes.

    Attributes:
        start: their first.
        rows: how many.
        sha256: of their bytes; None while they are still to be computed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    start: int = Field(ge=0)
    rows: int = Field(ge=1)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")

    def __str__(self) -> str:
        return f"rows {self.start} to {self.start + self.rows - 1}"


class Description(BaseModel):
    """A packed matrix, or the plan of one.

    Attributes:
        key: what has to be the same for the embeddings to be used.
        rows: of the matrix.
        width: of a row.
        dtype: of the embeddings.
        items: SHA-256 of the content hashes of all rows' items; None where the file has none of them.
        about: what the key stands for, in words.
        shards: from the first row to the last.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[2] = FORMAT
    key: str
    rows: int = Field(ge=0)
    width: int = Field(ge=1)
    dtype: Dtype
    items: str | None = None
    about: dict[str, Any]
    shards: list[Shard]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        row = 0
        for shard in self.shards:
            if shard.start != row:
                raise ValueError(f"row {row} is in no shard, or in two")
            row += shard.rows
        if row != self.rows:
            raise ValueError(f"the shards hold {row} rows instead of {self.rows}")
        return self

    @property
    def identity(self) -> str:
        """Hash of everything but the shards: two builds of the same identity make the same file."""
        content = f"{self.key} {self.rows} {self.width} {self.dtype} {self.items}"
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def layout(self) -> Layout:
        """Where its bytes lie."""
        return Layout(self.rows, self.width, self.dtype, self.items is not None, self.identity)

    @property
    def unfinished(self) -> list[Shard]:
        """Its shards as they are before anything is computed."""
        return [shard.model_copy(update={"sha256": None}) for shard in self.shards]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return self.model_dump(mode="json")


def cut(start: int, stop: int, rows: int) -> list[Shard]:
    """The shards of ``rows`` rows each, the last perhaps shorter, that make up ``start`` to ``stop``."""
    return [Shard(start=first, rows=min(rows, stop - first)) for first in range(start, stop, rows)]


def read_description(path: Path, fix: str) -> Description:
    """A description or a plan; ``fix`` is what messages say is to be done.

    Raises:
        RunFolderError: it is missing or damaged, or of another format.
    """
    try:
        content = read_json(path)
    except RunFolderError as error:
        told = {name: text for name, text in error.details.items() if name == "received"}
        raise RunFolderError(error.problem, where=path, **told, fix=fix) from error
    received = content.get("format") if isinstance(content, dict) else type(content).__name__
    if received != FORMAT:
        raise RunFolderError(
            "The bank is in another format.", where=path, expected=f"format {FORMAT}", received=received, fix=fix
        )
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunFolderError(
            "The bank's description is damaged.", where=path, received=f"{place}: {first['msg']}".lstrip(": "), fix=fix
        ) from error


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two plain values differ, as ``key.key: this, that``."""
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            each
            for key in sorted(first.keys() | second.keys())
            for each in differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [] if first == second else [f"{path}: {_short(first)}, now {_short(second)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."
