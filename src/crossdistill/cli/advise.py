"""``crossdistill advise``: the verdict on the terminal, and the numbers behind it as JSON and as a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossdistill.advisor.advice import Advice, advise
from crossdistill.advisor.curve import Spread
from crossdistill.advisor.evidence import AdviseSettings
from crossdistill.advisor.page import WORDS, write_page
from crossdistill.cli.subject import encoder_of, sides_of, subject_of, teacher_of
from crossdistill.errors import ConfigError
from crossdistill.files import storage_errors, write_json
from crossdistill.pairs import open_pairs
from crossdistill.pipeline.commands import deterministic
from crossdistill.training.loop import choose_device
from crossdistill.validation import validated

_PLAIN_WIDTH = 110  # columns where there is no terminal to ask
_STYLES = {"worth it": "bold green", "collect more pairs": "bold yellow"}
_SHOWN = ("retrieval_auc", "ridge_r2", "linear_cka", "mutual_neighbours", "total_variation", "modality_gap")


def advise_on(
    given: str,
    source: str | None,
    target: str | None,
    teacher: str | None,
    out: Path | None,
    *,
    settings: dict[str, object],
    as_json: bool,
    workers: int,
    device: str,
) -> None:
    """Advises, prints the verdict or the JSON on standard output, and writes ``advice.json`` and ``advice.html``.

    Raises:
        CrossDistillError: the pairs, the modalities or the teacher cannot be had.
    """
    chosen = validated(AdviseSettings, settings, "options")
    subject = subject_of(given)
    sides = sides_of(subject, source, target)
    encoder = encoder_of(subject.teacher if teacher is None else teacher_of(teacher), sides[0])
    if encoder is None:
        raise ConfigError(
            "Advice is about a teacher, and none is named.", where="--teacher",
            fix="--teacher efficientnet-lite0, or a run folder, a timm name, backbone=NAME,weights=FILE",
        )  # fmt: skip
    if out is not None:
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    deterministic()
    place = str(choose_device(device))
    advice = advise(open_pairs(subject.pairs), encoder, sides[1], settings=chosen, device=place, workers=workers)
    if out is not None:
        write_json(out / "advice.json", advice.to_json())
        write_page(advice, out / "advice.html")
    if as_json:
        typer.echo(json.dumps(advice.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        _show(advice, out)


def _show(advice: Advice, out: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    verdict = advice.ruling.verdict
    console.print(f"{escape(advice.name)}: [{_STYLES.get(verdict, 'bold red')}]{verdict.upper()}[/]")
    for line in [*advice.ruling.reasons, *advice.remarks]:
        console.print(f"  {line}", markup=False)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(style="dim")
    table.add_column()
    for pairs, each in advice.forecasts.items():
        table.add_row(f"gain with {pairs:,} pairs", _points(each))
    if advice.needed is not None:
        low, high = (_count(each) for each in (advice.needed.low, advice.needed.high))
        table.add_row("pairs for 90% of the ceiling", f"about {_count(advice.needed.value)} (90%: {low} to {high})")
    if (partner := advice.evidence.partner) is not None:
        value, low, high = (f"{100 * each:.0f}" for each in (partner.value, partner.low, partner.high))
        table.add_row("a target finds its source", f"{value}% of comparisons (95%: {low} to {high}; chance 50)")
    for name in _SHOWN:
        if (found := advice.evidence.distances.get(name)) is not None:
            table.add_row(WORDS[name][0], f"{found.value:.3g} (95%: {found.low:.3g} to {found.high:.3g})")
    if advice.forecasts:
        table.add_row("start with", f"{advice.objective}: {advice.because}")
    console.print()
    console.print(table)
    console.print(
        f"\n{advice.evidence.pairs} of {advice.available:,} training pairs, {advice.seconds:.0f} seconds", style="dim"
    )
    if out is not None:
        console.print(f"report: {out / 'advice.html'}", markup=False, soft_wrap=True)


def _points(each: Spread) -> str:
    return f"{100 * each.value:+.1f} points of few-shot accuracy (90%: {100 * each.low:+.1f} to {100 * each.high:+.1f})"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < 1e6 else "more than a million"
