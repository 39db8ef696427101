"""``crossdistill bank``: the teacher's embeddings, built, checked and described."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from crossdistill import ranks
from crossdistill.bank.inspection import describe_bank, verify_bank
from crossdistill.pipeline.banking import build_teacher_bank
from crossdistill.pipeline.folder import recorded_config


def build(config: Path, overrides: list[str], out: Path | None) -> None:
    """Builds, extends or mends the bank of a configuration, and says where it is."""
    folder = build_teacher_bank(config, [*overrides, *([] if out is None else [f"out={out}"])])
    for each in describe_bank(folder) if ranks.is_first() else []:
        typer.echo(f"{each['file']}: {each['rows']} x {each['width']} {each['dtype']}, {each['bytes']:,} bytes")


def verify(path: Path) -> None:
    """Prints one line for each matrix of a bank that is as it was written.

    Raises:
        RunFolderError: it is not.
    """
    for line in verify_bank(folder_of(path)):
        typer.echo(line)


def info(path: Path, *, as_json: bool) -> None:
    """Prints what a bank holds, as lines or as JSON."""
    folder = folder_of(path)
    found = describe_bank(folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "matrices": found}, indent=2))
        return
    for each in found:
        typer.echo(each["file"])
        shards = f"{each['shards_done']} of {each['shards']}"
        views = f" ({each['rows'] // each['count']} items in {each['count']} views)" if "count" in each else ""
        typer.echo(f"  {each['state']}, {shards} shards done")
        typer.echo(f"  {each['rows']} rows{views} of {each['width']} {each['dtype']}, {each['bytes']:,} bytes")
        typer.echo(f"  teacher: {each['teacher']['backbone']}, {each['origin']}, key {each['key'][:12]}")
        told = ", ".join(f"{key}: {value}" for key, value in each["preprocessing"].items() if key != "augment")
        typer.echo(f"  preprocessing: {told}")


def folder_of(path: Path) -> Path:
    """A bank's folder, given itself or the run folder that it belongs to."""
    config = path / "config.yaml"
    if not config.is_file():
        return path
    bank = recorded_config(config).get("bank")
    shared = bank.get("folder") if isinstance(bank, dict) else None
    return Path(shared) if isinstance(shared, str) else path / "bank"
