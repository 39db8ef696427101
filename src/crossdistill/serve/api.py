"""The JSON API: typed, documented by its OpenAPI description, with errors of one shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import anyio
import anyio.to_thread
import numpy as np
from fastapi import APIRouter, FastAPI, File, Query, Request, Response, UploadFile
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from crossdistill import __version__
from crossdistill.pairs import Side
from crossdistill.serve.answer import Answer
from crossdistill.serve.bodies import (
    ArrayQuery,
    VectorQuery,
    as_item,
    describe_bodies,
    item_of,
    json_body,
    json_of,
    parsed,
)
from crossdistill.serve.gallery import Gallery
from crossdistill.serve.limits import Deadline, RefusedError
from crossdistill.serve.problems import ERRORS, handle_errors
from crossdistill.serve.reference import reference_page
from crossdistill.serve.service import Service
from crossdistill.serve.student import SIDES, Student

T = TypeVar("T")

_DAY = {"cache-control": "private, max-age=86400"}
_ANEW = {"cache-control": "no-cache"}

RunId = Annotated[str, "The id of a run, from /api/v1/runs."]
Modality = Annotated[Side, Query(description="What the items are: source or target.")]
Count = Annotated[int, Query(ge=1, description="How many of the nearest of each modality.")]
Version = Annotated[
    str | None,
    Query(alias="v", description="As the addresses in answers have it: no other start of the server has the same."),
]


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
        items = [await item_of(each) for each in file]
        vectors = await _bounded(service, partial(service.embed, student, items, modality))
        return _embeddings(student, modality, vectors)

    @router.post("/runs/{run}/embed/array", openapi_extra=json_body(ArrayQuery))
    async def embed_array(run: RunId, request: Request, modality: Modality = "target") -> Embeddings:
        """The embedding of an array."""
        student, body = service.student(run), await json_of(request)

        def work(deadline: Deadline) -> Embeddings:
            item = as_item(parsed(ArrayQuery, body), student, modality)
            return _embeddings(student, modality, service.embed(student, [item], modality, deadline))

        return await _bounded(service, work)

    @router.post("/runs/{run}/search")
    async def search(
        run: RunId, file: Annotated[UploadFile, File()], modality: Modality = "target", k: Count = 10
    ) -> Answer:
        """All that is told about a file: nearest items, labels, how sure that is, its place on the map."""
        student, item = service.student(run), await item_of(file)
        return await _bounded(service, partial(service.ask, student, item, modality, k))

    @router.post("/runs/{run}/search/array", openapi_extra=json_body(ArrayQuery))
    async def search_array(run: RunId, request: Request, modality: Modality = "target", k: Count = 10) -> Answer:
        """The same about an array."""
        student, body = service.student(run), await json_of(request)

        def work(deadline: Deadline) -> Answer:
            item = as_item(parsed(ArrayQuery, body), student, modality)
            return service.ask(student, item, modality, k, deadline)

        return await _bounded(service, work)

    @router.post("/runs/{run}/search/vector", openapi_extra=json_body(VectorQuery))
    async def search_vector(run: RunId, request: Request, modality: Modality = "target", k: Count = 10) -> Answer:
        """The same about an embedding; modality says what it is of."""
        student, body = service.student(run), await json_of(request)

        def work(deadline: Deadline) -> Answer:
            vector = np.array(parsed(VectorQuery, body).embedding, dtype=np.float64)
            return service.ask_vector(student, vector, modality, k, deadline)

        return await _bounded(service, work)

    @router.get("/runs/{run}/map", response_class=Response, responses={200: {"content": {"image/webp": {}}}})
    async def map_picture(run: RunId, version: Version = None) -> Response:
        """The map of the source items as a WebP picture; `place` of an answer is a place on it."""
        student = service.student(run)
        drawn = await _bounded(service, lambda _: student.map.picture())
        return _content(drawn, "image/webp", _kept(student, version))

    @router.get("/runs/{run}/{side}/{position}/picture", response_class=Response,
                responses={200: {"content": {"image/webp": {}}}})  # fmt: skip
    async def picture(run: RunId, side: Side, position: int, version: Version = None) -> Response:
        """A small picture of an item that is searched."""
        student = service.student(run)
        return await _picture(service, student, student.shelf(side).gallery, position, version)

    @router.get("/runs/{run}/own/{side}/{position}/picture", response_class=Response,
                responses={200: {"content": {"image/webp": {}}}})  # fmt: skip
    async def own_picture(run: RunId, side: Side, position: int, version: Version = None) -> Response:
        """The same of one of the run's own items, where a gallery is searched instead."""
        student = service.student(run)
        return await _picture(service, student, student.own[side].gallery, position, version)

    @router.get("/runs/{run}/{side}/{position}/sound", response_class=Response,
                responses={200: {"content": {"audio/ogg": {}}}})  # fmt: skip
    async def sound(run: RunId, side: Side, position: int, version: Version = None) -> Response:
        """An item that is searched as it is heard, for sounds."""
        student = service.student(run)
        return await _sound(service, student, student.shelf(side).gallery, position, version)

    @router.get("/runs/{run}/own/{side}/{position}/sound", response_class=Response,
                responses={200: {"content": {"audio/ogg": {}}}})  # fmt: skip
    async def own_sound(run: RunId, side: Side, position: int, version: Version = None) -> Response:
        """The same of one of the run's own items, where a gallery is searched instead."""
        student = service.student(run)
        return await _sound(service, student, student.own[side].gallery, position, version)

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(reference_page(app.openapi(), service))

    app.include_router(router)
    handle_errors(app)
    describe_bodies(app)
    return app


def _described(student: Student) -> Run:
    return Run(
        id=student.id, run=student.run, objective=student.objective, role=student.role, width=student.model.width,
        modalities={side: student.modality(side).modality for side in SIDES},
        items={side: len(student.shelf(side).gallery) for side in SIDES}, gallery=student.sources.gallery.name,
        classes=[] if student.labeller is None else list(student.labeller.classes),
    )  # fmt: skip


def _embeddings(student: Student, side: Side, vectors: Any) -> Embeddings:
    return Embeddings(run=student.id, modality=side, width=student.model.width, embeddings=vectors.tolist())


async def _picture(service: Service, student: Student, items: Gallery, position: int, version: str | None) -> Response:
    headers = _kept(student, version)
    _require(items, position)
    drawn = await _bounded(service, lambda _: items.picture(position), counted=False)
    return _content(drawn, "image/webp", headers)


async def _sound(service: Service, student: Student, items: Gallery, position: int, version: str | None) -> Response:
    headers = _kept(student, version)
    _require(items, position)
    return _content(await _bounded(service, lambda _: items.sound(position), counted=False), "audio/ogg", headers)


def _kept(student: Student, version: str | None) -> dict[str, str]:
    """Whether a browser may keep what is at an address: only where the address says of which start it is."""
    if version is None:
        return _ANEW
    if version != student.version:
        raise RefusedError(
            "The address is from before the server was started anew.", status=404, where="v",
            expected=student.version, received=version[:80], fix="ask again: an answer has the addresses of today",
        )  # fmt: skip
    return _DAY


def _require(items: Gallery, position: int) -> None:
    if not 0 <= position < len(items):
        raise RefusedError(
            "There is no such item.", status=404, where=f"{items.side} {position}", expected=f"0 to {len(items) - 1}"
        )


def _content(content: bytes | None, kind: str, headers: dict[str, str]) -> Response:
    if content is None:
        raise RefusedError("The item has none.", status=404, expected=kind)
    return Response(content, media_type=kind, headers=headers)


async def _bounded(service: Service, work: Callable[[Deadline], T], counted: bool = True) -> T:
    """Work in a thread, with a limit on how long it may take and on how much of it there may be."""
    deadline = Deadline(service.limits.request_seconds)

    def admitted() -> T:
        if not counted:
            return work(deadline)
        with service.admit():
            return work(deadline)

    try:
        with anyio.fail_after(service.limits.request_seconds):
            return await anyio.to_thread.run_sync(admitted, abandon_on_cancel=True)
    except TimeoutError:
        raise deadline.refusal from None
