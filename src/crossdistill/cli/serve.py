"""``crossdistill serve``: a page and a JSON API for finished runs, on this machine alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import typer

from crossdistill.errors import MissingDependencyError

_NEEDED = {"gradio": "gradio", "multipart": "python-multipart"}


def serve_runs(runs: Sequence[Path], gallery: Path | None, port: int, device: str) -> None:
    """Serves until Ctrl-C or SIGTERM, and then ends with exit code 0.

    Raises:
        MissingDependencyError: what the page needs is not installed.
    """
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            "The page needs packages that are not installed.", received=f"no {', no '.join(missing)}",
            fix="pip install 'crossdistill[serve]'",
        )  # fmt: skip
    from crossdistill.serve.server import serve

    serve(runs, gallery, port, device, _tell)
    typer.echo("stopped", err=True)


def _tell(page: str) -> None:
    typer.echo(f"page: {page}")
    typer.echo(f"API:  {page}api/docs")
    typer.echo("Ctrl-C stops it", err=True)
