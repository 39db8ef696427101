"""The JSON API: typed, documented by its OpenAPI description, with errors of one shape."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import anyio
import anyio.to_thread
import numpy as np
from fastapi import APIRouter, FastAPI, File, Query, Response, UploadFile
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from crossdistill import __version__
from crossdistill.item import MemoryItem
from crossdistill.pairs import Side
from crossdistill.serve.answer import Answer
from crossdistill.serve.limits import RefusedError, safe_name
from crossdistill.serve.problems import ERRORS, handle_errors
from crossdistill.serve.reference import reference_page
from crossdistill.serve.service import Service
from crossdistill.serve.student import SIDES, Student

T = TypeVar("T")

_DAY = {"cache-control": "private, max-age=86400"}

RunId = Annotated[str, "The id of a run, from /api/v1/runs."]
Modality = Annotated[Side, Query(description="What the items are: source or target.")]
Count = Annotated[int, Query(ge=1, description="How many of the nearest of each modality.")]


class Health(BaseModel):
    """That the server answers, and how busy it is."""

    status: Literal["ok"] = "ok"
    version: str
    runs: int
    at_work: int = Field(description="Requests at work or waiting.")
    most: int = Field(description="More than so many are refused with status 503.")


class Run(BaseModel):
    """A student that can be asked."""

    id: str
    run: str = Field(description="Name of the run's folder.")
    objective: str = Field(description="What it was distilled with.")
    role: str = Field(description="objective or baseline")
    width: int = Field(description="Numbers of an embedding.")
    modalities: dict[Side, str] = Field(description="What source and target are, such as image and audio.")
    items: dict[Side, int] = Field(description="How many of each can be found.")
    gallery: str = Field(description="What the source items are.")
    classes: list[str] = Field(description="Labels that the zero-shot classifier tells apart.")


class Embeddings(BaseModel):
    """Vectors of unit length: the dot product of two is their cosine similarity."""

    run: str
    modality: Side
    width: int
    embeddings: list[list[float]] = Field(description="One for each item, in their order.")


class ArrayQuery(BaseModel):
    """An item as nested lists of numbers, as the modality's NPY files hold it."""

    array: list[Any] = Field(description="Pictures (H, W) or (H, W, C) of 0..255, waves (samples,), vectors (width,).")
    dtype: Literal["uint8", "uint16", "float32"] | None = Field(
        None, description="Of the array; by default uint8 for pictures and videos, else float32."
    )


class VectorQuery(BaseModel):
    """An embedding, as /embed gives it."""

    embedding: list[float]


def make_api(service: Service) -> FastAPI:
    """The application with the API alone."""
    app = FastAPI(
        title="crossdistill", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
        description="Embed items of two modalities into one space, and search in one by the other.",
    )  # fmt: skip
    router = APIRouter(prefix="/api/v1", responses=ERRORS)

    @router.get("/health")
    async def health() -> Health:
        """That the server answers, and how busy it is."""
        admission = service.admission
        return Health(version=__version__, runs=len(service.students), at_work=admission.count, most=admission.most)

    @router.get("/runs")
    async def runs() -> list[Run]:
        """All students that can be asked: of each run its objective's, and its baselines'."""
        return [_described(student) for student in service.students.values()]

    @router.post("/runs/{run}/embed")
    async def embed(run: RunId, file: Annotated[list[UploadFile], File()], modality: Modality = "target") -> Embeddings:
        """Embeddings of one or several files."""
        student = service.student(run)
        if len(file) > service.limits.files:
            raise RefusedError(
                "Too many files.", status=413, expected=f"at most {service.limits.files}", received=len(file)
            )
        items = [await _item(each) for each in file]
        vectors = await _bounded(service, lambda: service.embed(student, items, modality))
        return _embeddings(student, modality, vectors)

    @router.post("/runs/{run}/embed/array")
    async def embed_array(run: RunId, query: ArrayQuery, modality: Modality = "target") -> Embeddings:
        """The embedding of an array."""
        student = service.student(run)
        item = _as_item(query, student, modality)
        return _embeddings(student, modality, await _bounded(service, lambda: service.embed(student, [item], modality)))

    @router.post("/runs/{run}/search")
    async def search(
        run: RunId, file: Annotated[UploadFile, File()], modality: Modality = "target", k: Count = 10
    ) -> Answer:
        """All that is told about a file: nearest items, labels, how sure that is, its place on the map."""
        student, item = service.student(run), await _item(file)
        return await _bounded(service, lambda: service.ask(student, item, modality, k))

    @router.post("/runs/{run}/search/array")
    async def search_array(run: RunId, query: ArrayQuery, modality: Modality = "target", k: Count = 10) -> Answer:
        """The same about an array."""
        student = service.student(run)
        item = _as_item(query, student, modality)
        return await _bounded(service, lambda: service.ask(student, item, modality, k))

    @router.post("/runs/{run}/search/vector")
    async def search_vector(run: RunId, query: VectorQuery, modality: Modality = "target", k: Count = 10) -> Answer:
        """The same about an embedding; modality says what it is of."""
        student, vector = service.student(run), np.array(query.embedding, dtype=np.float64)
        return await _bounded(service, lambda: service.ask_vector(student, vector, modality, k))

    @router.get("/runs/{run}/map", response_class=Response, responses={200: {"content": {"image/webp": {}}}})
    async def map_picture(run: RunId) -> Response:
        """The map of the source items as a WebP picture; `place` of an answer is a place on it."""
        student = service.student(run)
        return Response(await _bounded(service, student.map.picture), media_type="image/webp", headers=_DAY)

    @router.get("/runs/{run}/{side}/{position}/picture", response_class=Response,
                responses={200: {"content": {"image/webp": {}}}})  # fmt: skip
    async def picture(run: RunId, side: Side, position: int) -> Response:
        """A small picture of an item."""
        gallery = _gallery(service.student(run), side, position)
        drawn = await _bounded(service, lambda: gallery.picture(position), counted=False)
        return _content(drawn, "image/webp")

    @router.get("/runs/{run}/{side}/{position}/sound", response_class=Response,
                responses={200: {"content": {"audio/ogg": {}}}})  # fmt: skip
    async def sound(run: RunId, side: Side, position: int) -> Response:
        """An item as it is heard, for sounds."""
        gallery = _gallery(service.student(run), side, position)
        return _content(await _bounded(service, lambda: gallery.sound(position), counted=False), "audio/ogg")

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(reference_page(app.openapi(), service))

    app.include_router(router)
    handle_errors(app)
    return app


def _described(student: Student) -> Run:
    return Run(
        id=student.id, run=student.run, objective=student.objective, role=student.role, width=student.model.width,
        modalities={side: student.modality(side).modality for side in SIDES},
        items={side: len(student.shelf(side).gallery) for side in SIDES}, gallery=student.sources.gallery.name,
        classes=[] if student.labeller is None else list(student.labeller.classes),
    )  # fmt: skip


async def _item(upload: UploadFile) -> MemoryItem:
    content = await upload.read()
    if not content:
        raise RefusedError("The file is empty.", status=400, where=safe_name(upload.filename), received="0 bytes")
    return MemoryItem(safe_name(upload.filename), content)


def _as_item(query: ArrayQuery, student: Student, side: Side) -> MemoryItem:
    """An array as the NPY file that would hold it, so that it passes the same checks."""

    pictures = student.modality(side).modality in ("image", "sketch", "video")
    dtype = np.dtype(query.dtype or ("uint8" if pictures else "float32"))
    try:
        values = np.array(query.array, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise RefusedError(
            "The array is no regular array of numbers.", status=400, where="array", received=error
        ) from error
    if dtype.kind == "u" and (not np.isfinite(values).all() or values.min(initial=0) < 0
                              or values.max(initial=0) > np.iinfo(dtype).max):  # fmt: skip
        raise RefusedError(
            "The array has values out of range.", status=400, where="array",
            expected=f"0 to {np.iinfo(dtype).max}, as dtype is {dtype}",
        )  # fmt: skip
    stream = io.BytesIO()
    np.save(stream, values.astype(dtype), allow_pickle=False)
    return MemoryItem("array.npy", stream.getvalue())


def _embeddings(student: Student, side: Side, vectors: Any) -> Embeddings:
    return Embeddings(run=student.id, modality=side, width=student.model.width, embeddings=vectors.tolist())


def _gallery(student: Student, side: Side, position: int) -> Any:
    gallery = student.shelf(side).gallery
    if not 0 <= position < len(gallery):
        raise RefusedError(
            "There is no such item.", status=404, where=f"{side} {position}", expected=f"0 to {len(gallery) - 1}"
        )
    return gallery


def _content(content: bytes | None, kind: str) -> Response:
    if content is None:
        raise RefusedError("The item has none.", status=404, expected=kind)
    return Response(content, media_type=kind, headers=_DAY)


async def _bounded(service: Service, work: Callable[[], T], counted: bool = True) -> T:
    """Work in a thread, with a limit on how long it is waited for and on how much of it there may be."""

    def admitted() -> T:
        if not counted:
            return work()
        with service.admit():
            return work()

    try:
        with anyio.fail_after(service.limits.request_seconds):
            return await anyio.to_thread.run_sync(admitted, abandon_on_cancel=True)
    except TimeoutError:
        raise RefusedError(
            "The request takes too long.", status=504, expected=f"at most {service.limits.request_seconds:g} s"
        ) from None  # fmt: skip
