"""The ``bank:`` section of a configuration."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from crossdistill.bank.layout import Dtype

BATCH = 64  # items embedded at once; shards hold whole batches, so that who computes them changes no bit
SHARD_ROWS = 4096  # half a minute of a small teacher on a CPU: what a killed process loses at most


class BankConfig(BaseModel):
    """How the teacher's embeddings are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Dtype = Field("float32", description="float32, bfloat16 or float16")
    shard_rows: int = Field(
        SHARD_ROWS,
        ge=BATCH,
        multiple_of=BATCH,
        description="rows that one process computes at a time and checks as one",
    )
    folder: Path | None = Field(None, description="a bank that several runs share; default: RUN/bank")
