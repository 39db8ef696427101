"""``crossdistill publish``: a run as a folder in the layout of the Hugging Face Hub, and its upload."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from crossdistill.errors import ConfigError
from crossdistill.hub import save_pretrained
from crossdistill.hub.download import check_name
from crossdistill.hub.upload import plan_upload, upload
from crossdistill.pipeline import load


def publish_run(
    run: Path, out: Path, licence: str | None, push: str | None, *, teacher: bool = True, public: bool = False,
    agreed: bool = False,
) -> None:  # fmt: skip
    """Writes the folder; with ``push`` shows what would be uploaded, asks, and uploads.

    Raises:
        ConfigError: nobody is logged in, or nobody is there to ask.
        StorageError: the Hub cannot be reached, or refuses.
    """
    if push is not None:
        check_name(push)
    folder = save_pretrained(load(run, device="cpu"), out, licence=licence, repository=push, teacher=teacher)
    typer.echo(f"model: {folder}")
    typer.echo(f"card: {folder / 'README.md'}")
    if push is None:
        return
    plan = plan_upload(folder, push)
    typer.echo(f"To {push} on the Hugging Face Hub, {'public' if public else 'private where it is new'}:", err=True)
    for name, size in plan.files.items():
        typer.echo(f"  {size / 2**20:9.2f} MiB  {name}", err=True)
    if plan.gone:
        typer.echo(f"  removed, where an earlier upload left it: {', '.join(plan.gone)}", err=True)
    if not agreed:
        if not sys.stdin.isatty():
            raise ConfigError(
                "Nobody is there to agree to the upload.", where="--push", expected="a terminal, or --yes",
                fix=f"the model is in {folder}: look at it, then give the same command with --yes",
            )  # fmt: skip
        if not typer.confirm(f"Upload these {plan.size / 2**20:.2f} MiB?", err=True):
            typer.echo("nothing was uploaded", err=True)
            return
    typer.echo(f"uploaded: {upload(plan, private=not public)}")
