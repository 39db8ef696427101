"""Errors of the API: one shape, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
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
        500: "A fault of the server, which its output tells.",
        504: "The request took too long.",
    }.items()
}


def wrong(error: Mapping[str, Any]) -> RefusedError:
    """The refusal of a value, from what pydantic says of it."""
    return RefusedError(
        "A parameter is wrong.", status=400, where=".".join(str(part) for part in error["loc"]) or "body",
        expected=error["msg"], received=repr(error.get("input"))[:80], fix="see /api/docs",
    )  # fmt: skip


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
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "application/json" if request.url.path.endswith(("/array", "/vector")) else "multipart/form-data"
        if request.method == "POST" and kind != wanted:
            told = Problem(problem="The body is of another type.", expected=wanted, received=kind or "no type")
            return JSONResponse(told.model_dump(exclude_none=True), 415)
        refusal = wrong(first)
        return JSONResponse({"problem": refusal.problem, **refusal.details}, refusal.status)

    # It answers; Starlette then has the exception logged.
    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        told = Problem(
            problem="The server has a fault.", received=type(error).__name__,
            fix="look at the server's output; please report what it says",
        )  # fmt: skip
        return JSONResponse(told.model_dump(exclude_none=True), 500)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"problem": str(error.detail)}, error.status_code, error.headers)
