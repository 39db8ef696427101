"""What ``index.json`` says of an index: whose embeddings, which files, how many rows of them count."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crossdistill.encoders import Encoder, weights_hash
from crossdistill.errors import RunFolderError
from crossdistill.files import read_json
from crossdistill.pairs import Side
from crossdistill.pipeline import CrossModalModel

FORMAT: Literal[1] = 1
NAME = "index.json"
Kind = Literal["auto", "exact", "hnsw"]

_SETTINGS = ConfigDict(extra="forbid", frozen=True, strict=True)
_SHA256 = "^[0-9a-f]{64}$"
_FILE = r"^[a-z]+-\d{6}\.[a-z0-9]+$"  # never a path


class Part(BaseModel):
    """Rows that were written together.

    Attributes:
        rows: how many.
        sha256: of their bytes.
    """

    model_config = _SETTINGS

    rows: int = Field(ge=1)
    sha256: str = Field(pattern=_SHA256)


class Table(Part):
    """A Parquet file with the ids and metadata of some rows."""

    file: str = Field(pattern=_FILE)


class VectorFile(BaseModel):
    """The file of all vectors: rows of little-endian float32 and nothing else, from the first to the last part.

    What lies behind the last part is what a killed process left, and does not count.
    """

    model_config = _SETTINGS

    file: str = Field(pattern=_FILE)
    parts: list[Part]


class GraphFile(Part):
    """The graph of an approximate index, over the first ``rows`` rows.

    Attributes:
        outdated: rows that have been replaced since; they are searched exactly, as are those that it lacks.
    """

    file: str = Field(pattern=_FILE)
    outdated: list[int]


class EncoderMark(BaseModel):
    """By what embeddings can be told from those of another encoder.

    Attributes:
        origin: of its weights, in words.
        weights_hash: as in ``encoder.json``.
        preprocessing: hash of what is done to an item before.
    """

    model_config = _SETTINGS

    origin: str
    weights_hash: str = Field(pattern=_SHA256)
    preprocessing: str = Field(pattern=_SHA256)


class Description(BaseModel):
    """The content of ``index.json``.

    Attributes:
        run: the run folder, as it was given.
        run_absolute: the same from the root.
        modality: of the items.
        width: of a vector.
        kind: as it was asked for.
        half_built: its items are still being embedded.
        metadata_sha256: of the file of metadata that such a build goes by; None without one, and when it is done.
        encoders: those of the run, by side; a run may keep no copy of its teacher.
        rows: that count.
        generation: of all changes the last.
        vectors: the file of all vectors.
        tables: the files of ids and metadata, in the order of the rows.
        graph: of an approximate index.
    """

    model_config = _SETTINGS

    format: Literal[1] = FORMAT
    run: str
    run_absolute: str
    modality: Side
    width: int = Field(ge=1)
    kind: Kind
    half_built: bool
    metadata_sha256: str | None = Field(None, pattern=_SHA256)
    encoders: dict[Side, EncoderMark]
    rows: int = Field(ge=0)
    generation: int = Field(ge=0)
    vectors: VectorFile
    tables: list[Table]
    graph: GraphFile | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name, parts in (("vectors", self.vectors.parts), ("tables", self.tables)):
            found = sum(part.rows for part in parts)
            if found != self.rows:
                raise ValueError(f"{name} have {found} rows instead of {self.rows}")
        if self.graph is not None and self.graph.rows > self.rows:
            raise ValueError(f"the graph has {self.graph.rows} rows, more than all {self.rows}")
        if self.graph is not None and any(not 0 <= row < self.graph.rows for row in self.graph.outdated):
            raise ValueError("the graph's outdated rows are not among its rows")
        return self

    def with_(self, **changes: Any) -> Self:
        """The same with other values, checked."""
        return type(self).model_validate({**dict(self), **changes})


def describe(model: CrossModalModel, modality: Side, kind: Kind) -> Description:
    """Of an index without rows.

    Raises:
        ConfigError: there is no such modality.
        RunFolderError: the run keeps no encoder for it.
    """
    encoder = model.encoder(modality)
    return Description(
        run=str(model.folder.root), run_absolute=str(model.folder.root.absolute()), modality=modality,
        width=encoder.width, kind=kind, half_built=False, encoders=marks(model), rows=0, generation=0,
        vectors=VectorFile(file="vectors-000000.f32", parts=[]), tables=[], graph=None,
    )  # fmt: skip


def marks(model: CrossModalModel) -> dict[Side, EncoderMark]:
    """The encoders of a run, as far as it has them."""
    found: dict[Side, EncoderMark] = {}
    sides: tuple[Side, Side] = ("source", "target")
    for side in sides:
        with suppress(RunFolderError):  # no copy of the teacher
            found[side] = _mark(model.encoder(side))
    return found


def _mark(encoder: Encoder) -> EncoderMark:
    preprocessing = encoder.modality.model_dump_json(by_alias=True, exclude={"augment", "augment_with"})
    return EncoderMark(
        origin=encoder.origin, weights_hash=weights_hash(encoder),
        preprocessing=hashlib.sha256(preprocessing.encode()).hexdigest(),
    )  # fmt: skip


def read_description(folder: Path) -> Description:
    """The description of the index in a folder.

    Raises:
        RunFolderError: there is none, it is damaged, or of another format.
    """
    path = folder / NAME
    if not path.is_file():
        raise RunFolderError(
            "This is no index.", where=folder, expected=f"a folder with {NAME}, made by crossdistill index build"
        )
    content = read_json(path)
    received = content.get("format") if isinstance(content, dict) else type(content).__name__
    if received != FORMAT:
        raise RunFolderError(
            "The index is in another format.", where=path, expected=f"format {FORMAT}", received=received,
            fix="use the version of crossdistill that wrote it, or build the index anew",
        )  # fmt: skip
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
        raise RunFolderError(
            "The description of the index is damaged.", where=path, received=told, fix="build the index anew"
        ) from error
