"""``crossdistill embed``: files in, a Parquet file of vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from crossdistill.cli.inputs import files_of
from crossdistill.console import track
from crossdistill.encoders import describe_encoder
from crossdistill.errors import ConfigError
from crossdistill.files import atomic_path
from crossdistill.pairs import Side
from crossdistill.pipeline import load

_CHUNK = 256  # files per row group


def embed_files(run: Path, inputs: Sequence[Path], modality: str, out: Path, device: str) -> tuple[int, int]:
    """Embeds files, and all files below folders, and writes ``path`` and ``embedding``; returns count and width.

    Raises:
        PairsError: an input is missing or unreadable; nothing is written then.
        ConfigError: ``out`` is no Parquet name, or ``modality`` is unknown.
    """
    if out.suffix.lower() != ".parquet":
        raise ConfigError("The output must be a Parquet file.", where="--out", expected="NAME.parquet", received=out)
    model = load(run, device=device)
    encoder = model.encoder(cast(Side, modality))
    files = list(files_of(inputs))
    place = model.folder.teacher if modality == "source" else model.folder.student
    provenance = {
        "modality": modality,
        "weights_hash": describe_encoder(place)["provenance"]["weights_hash"],
        "run": str(run),
    }
    schema = pa.schema(
        [("path", pa.string()), ("embedding", pa.list_(pa.float32(), encoder.width))], metadata=provenance
    )
    with (
        atomic_path(out) as temporary,
        track("embedding", len(files)) as task,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            vectors = model.embed(chunk, cast(Side, modality))
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), encoder.width)
            writer.write_table(pa.table([pa.array([str(file) for file in chunk]), column], schema=schema))
            task.advance(len(chunk))
    return len(files), encoder.width
