"""The bodies of requests: uploads, and JSON that is read by whoever does the work."""

from __future__ import annotations

import io
from typing import Any, Literal, TypeVar

import numpy as np
from fastapi import FastAPI, Request, UploadFile
from pydantic import BaseModel, Field, ValidationError

from crossdistill.item import MemoryItem
from crossdistill.pairs import Side
from crossdistill.serve.limits import RefusedError, safe_name
from crossdistill.serve.problems import wrong
from crossdistill.serve.student import Student

Body = TypeVar("Body", bound=BaseModel)


class ArrayQuery(BaseModel):
    """An item as nested lists of numbers, as the modality's NPY files hold it."""

    array: list[Any] = Field(description="Pictures (H, W) or (H, W, C) of 0..255, waves (samples,), vectors (width,).")
    dtype: Literal["uint8", "uint16", "float32"] | None = Field(
        None, description="Of the array; by default uint8 for pictures and videos, else float32."
    )


class VectorQuery(BaseModel):
    """An embedding, as /embed gives it."""

    embedding: list[float]


async def item_of(upload: UploadFile) -> MemoryItem:
    """An upload."""
    content = await upload.read()
    if not content:
        raise RefusedError("The file is empty.", status=400, where=safe_name(upload.filename), received="0 bytes")
    return MemoryItem(safe_name(upload.filename), content)


def as_item(query: ArrayQuery, student: Student, side: Side) -> MemoryItem:
    """An array as the NPY file that would hold it, so that it passes the same checks."""
    pictures = student.modality(side).modality in ("image", "sketch", "video")
    dtype = np.dtype(query.dtype or ("uint8" if pictures else "float32"))
    try:
        values = np.array(query.array, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise RefusedError(
            "The array is no regular array of numbers.", status=400, where="array", received=error
        ) from error
    low, high = (0, np.iinfo(dtype).max) if dtype.kind == "u" else (np.finfo(dtype).min, np.finfo(dtype).max)
    known = values[~np.isnan(values)] if dtype.kind == "f" else values  # NaN says of a measurement that it is missing
    if not (np.isfinite(known).all() and known.min(initial=0) >= low and known.max(initial=0) <= high):
        raise RefusedError(
            "The array has values out of range.", status=400, where="array",
            expected=f"{low:g} to {high:g}, as dtype is {dtype}",
        )  # fmt: skip
    if dtype.kind == "u" and (rest := values != np.floor(values)).any():
        raise RefusedError(
            "The array has values that are not whole.", status=400, where="array",
            expected=f"whole numbers, as dtype is {dtype}", received=f"{values[rest][0]:g}",
            fix=f"round them; shares of 1 are multiplied by {np.iinfo(dtype).max} before",
        )  # fmt: skip
    stream = io.BytesIO()
    np.save(stream, values.astype(dtype), allow_pickle=False)
    return MemoryItem("array.npy", stream.getvalue())


async def json_of(request: Request) -> bytes:
    """A body as it came. It is read by whoever does the work: reading a long one here would hold up all others."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(
            "The body is of another type.", status=415, expected="application/json", received=kind or "no type"
        )
    return await request.body()


def parsed(model: type[Body], body: bytes) -> Body:
    """A body by its type.

    Raises:
        RefusedError: it is of another (400).
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise wrong(error.errors()[0]) from error


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """What the description says of such a body."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI) -> None:
    """Has the description hold the types of bodies that FastAPI does not read itself."""
    described = app.openapi

    def whole() -> dict[str, Any]:
        found = described()
        for model in (ArrayQuery, VectorQuery):
            found["components"]["schemas"][model.__name__] = model.model_json_schema()
        return found

    app.openapi = whole  # type: ignore[method-assign]  # as FastAPI's documentation has it
