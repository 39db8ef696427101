"""``crossdistill audit``: what to audit and with what, the summary on the terminal, files, and the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossdistill.audit import SEVERITIES, Audit, Severity, audit, by_check
from crossdistill.audit.mismatch import Matching
from crossdistill.audit.page import write_page
from crossdistill.cli.subject import encoder_of, sides_of, subject_of, teacher_of
from crossdistill.errors import AuditError, ConfigError
from crossdistill.files import write_json
from crossdistill.pairs import Pairs, open_pairs
from crossdistill.pairs.table import unchecked
from crossdistill.training.loop import choose_device

_PLAIN_WIDTH = 160  # columns where there is no terminal to ask
_STYLES = {"severe": "bold red", "warning": "yellow", "note": "dim"}


def audit_pairs(
    given: str,
    source: str | None,
    target: str | None,
    teacher: str | None,
    out: Path | None,
    *,
    as_json: bool,
    workers: int,
    fail_on: str,
    device: str,
) -> None:
    """Audits, prints the summary or the JSON on standard output, and writes ``audit.json`` and ``audit.html``.

    Raises:
        AuditError: something was found that is as bad as ``fail_on``, or worse.
        CrossDistillError: the pairs, the modalities or the teacher cannot be had.
    """
    if fail_on not in (*SEVERITIES[:2], "never"):
        raise ConfigError("Unknown level.", where="--fail-on", expected="severe, warning or never", received=fail_on)
    subject = subject_of(given)
    sides = sides_of(subject, source, target)
    place = str(choose_device(device))
    encoder = encoder_of(subject.teacher if teacher is None else teacher_of(teacher), sides[0])
    with unchecked():
        pairs: Pairs = open_pairs(subject.pairs)
        found = audit(pairs, sides[0], sides[1], teacher=encoder, device=place, workers=workers)
    if out is not None:
        write_json(out / "audit.json", found.to_json())
        write_page(found, out / "audit.html")
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        _show(found, out)
    if fail_on != "never" and found.fails(_severity(fail_on)):
        raise AuditError(
            f"The audit of {pairs.name} found something {fail_on}{'' if fail_on == 'severe' else ' or worse'}.",
            received=", ".join(_counted(found)), fix="mend it, or choose another --fail-on",
        )  # fmt: skip


def _severity(name: str) -> Severity:
    return next(each for each in SEVERITIES if each == name)


def _show(found: Audit, out: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    table = Table(header_style="bold", title=f"{found.pairs.name}: {len(found.pairs):,} rows", title_justify="left")
    table.add_column("")
    table.add_column("check")
    table.add_column("n", justify="right")
    table.add_column("first", ratio=3)
    table.add_column("what to do", ratio=2)
    last = None
    for severity, check, group in by_check(found.findings):
        if last not in (None, severity):
            table.add_section()
        last = severity
        first = Text(group[0].message).append(f"\n{group[0].where}", style="dim")
        table.add_row(Text(severity, style=_STYLES[severity]), check, str(len(group)), first, Text(group[0].fix))
    if found.findings:
        console.print(table)
    else:
        console.print(f"{found.pairs.name}: nothing was found in {len(found.pairs):,} rows", markup=False)
    console.print(_told(found), markup=False)
    if found.findings:
        console.print(", ".join(_counted(found)), markup=False)
    if out is not None:
        console.print(f"report: {out / 'audit.html'}", markup=False, soft_wrap=True)


def _told(found: Audit) -> str:
    """What the check for mismatched pairs says, in one line."""
    if not isinstance(found.matching, Matching):
        return f"mismatched pairs: not judged, {found.matching}"
    pairing = found.matching.pairing
    fits = f"a partner fits better than a wrong one in {100 * pairing.accuracy:.1f}% of the comparisons"
    if pairing.signal != "clear":
        hint = "" if found.teacher else "; --teacher efficientnet-lite0 may see more"
        return f"mismatched pairs: not named, as {fits}: too rarely{hint}"
    share = pairing.share
    return (
        f"mismatched pairs: {len(found.matching.named)} named; {100 * share.value:.1f}% estimated "
        f"(95%: {100 * share.low:.1f} to {100 * share.high:.1f}%); {fits}"
    )


def _counted(found: Audit) -> list[str]:
    plural = {"severe": "severe", "warning": "warnings", "note": "notes"}
    return [f"{n} {each if n == 1 else plural[each]}" for each in SEVERITIES if (n := found.count(each))]
