"""Errors of the API: one shape, whatever goes wrong."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from crossdistill.errors import CrossDistillError, MissingDependencyError
from crossdistill.serve.limits import RefusedError


class Problem(BaseModel):
    """Why a request is not answered."""

    problem: str
    where: str | None = None
    expected: str | None = None
    received: str | None = None
    fix: str | None = None


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The item cannot be read, or a parameter is wrong.",
        404: "No such run or item.",
        413: "The body, the picture or the sound is too large.",
        415: "The body is of another type than the address takes.",
        503: "Too many requests are at work; ask again in a second.",
        504: "The request took too long.",
    }.items()
}


def handle_errors(app: FastAPI) -> None:
    """Has an application answer every error as a :class:`Problem`."""

    @app.exception_handler(CrossDistillError)
    async def ours(request: Request, error: CrossDistillError) -> JSONResponse:
        missing = isinstance(error, MissingDependencyError)
        status = error.status if isinstance(error, RefusedError) else 501 if missing else 400
        headers = {"retry-after": "1"} if status == 503 else None
        return JSONResponse({"problem": error.problem, **error.details}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "application/json" if request.url.path.endswith(("/array", "/vector")) else "multipart/form-data"
        if request.method == "POST" and kind != wanted:
            told = Problem(problem="The body is of another type.", expected=wanted, received=kind or "no type")
            return JSONResponse(told.model_dump(exclude_none=True), 415)
        told = Problem(
            problem="A parameter is wrong.", where=where, expected=str(first["msg"]), fix="see /api/docs",
            received=repr(first.get("input"))[:80],
        )  # fmt: skip
        return JSONResponse(told.model_dump(exclude_none=True), 400)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"problem": str(error.detail)}, error.status_code, error.headers)
