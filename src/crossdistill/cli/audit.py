"""``crossdistill audit``: what to audit and with what, the summary on the terminal, files, and the exit code."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossdistill.audit import SEVERITIES, Audit, Severity, audit, by_check
from crossdistill.audit.mismatch import Matching
from crossdistill.audit.page import write_page
from crossdistill.encoders import Encoder, TeacherConfig, build_teacher
from crossdistill.encoders.build import encoder_folder
from crossdistill.encoders.weights import PACKAGED
from crossdistill.errors import AuditError, ConfigError, PairsError, nearest
from crossdistill.files import read_json, write_json
from crossdistill.modalities import Modality, parse_modality
from crossdistill.pairs import Pairs, PairsConfig, open_pairs
from crossdistill.pairs.builtin import builtin_set, known_sets
from crossdistill.pairs.making.build import ABOUT, MANIFEST
from crossdistill.pairs.table import unchecked
from crossdistill.pipeline import load_config
from crossdistill.pipeline.config import PRETRAINED_HERE
from crossdistill.training.loop import choose_device
from crossdistill.validation import validated

_PLAIN_WIDTH = 160  # columns where there is no terminal to ask
_STYLES = {"severe": "bold red", "warning": "yellow", "note": "dim"}
_NO_TEACHER = "none"


@dataclass(frozen=True)
class _Subject:
    """What is audited: pairs and the settings that belong to them."""

    pairs: PairsConfig
    source: Modality
    target: Modality
    teacher: TeacherConfig | None = None


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
    subject = _subject(given)
    sides = [
        _modality(text, f"--{name}", default)
        for name, text, default in (("source", source, subject.source), ("target", target, subject.target))
    ]
    place = str(choose_device(device))
    encoder = _encoder(subject.teacher if teacher is None else _teacher(teacher), sides[0])
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


def _subject(given: str) -> _Subject:
    """What PAIRS names: a configuration, a manifest or its folder, or a built-in set."""
    path = Path(given)
    if path.suffix.lower() in (".yaml", ".yml"):
        config = load_config(path)
        return _Subject(config.pairs, config.source, config.target, config.teacher)
    if not path.exists() and given in known_sets():
        known = builtin_set(given)
        return _Subject(PairsConfig(builtin=given), parse_modality(known.source), parse_modality(known.target))
    manifest = path / MANIFEST if path.is_dir() else path
    if not manifest.is_file():
        raise PairsError(
            "There are no such pairs.", where=manifest,
            expected=f"a manifest, a folder with {MANIFEST}, a configuration, or one of {', '.join(known_sets())}",
            fix=None if os.sep in given or path.suffix else nearest(given, known_sets()),
        )  # fmt: skip
    about = manifest.with_name(ABOUT)
    settings: dict[str, Any] = read_json(about) if about.is_file() else {}
    sides = [parse_modality(settings.get(name) or {"modality": "image"}, name) for name in ("source", "target")]
    return _Subject(PairsConfig(manifest=manifest), sides[0], sides[1])


def _modality(text: str | None, where: str, default: Modality) -> Modality:
    return default if text is None else parse_modality(_section(text, "modality", where), where)


def _teacher(text: str) -> TeacherConfig | None:
    """``none``, weights, a run folder, a backbone's name, or ``key=value,...``."""
    if text == _NO_TEACHER:
        return None
    if "=" in text or text.startswith("{"):
        return validated(TeacherConfig, _section(text, "backbone", "--teacher"), "--teacher")
    if text in PACKAGED or encoder_folder(Path(text)) is not None:
        return TeacherConfig(weights=text)
    if timm.is_model(text):
        return TeacherConfig(backbone=text)
    raise ConfigError(
        "Unknown teacher.", where="--teacher", received=text,
        expected=f"{', '.join(PACKAGED)}, a run folder, a timm name, or backbone=NAME,weights=FILE",
    )  # fmt: skip


def _encoder(config: TeacherConfig | None, source: Modality) -> Encoder | None:
    if config is None:
        return None
    if config.weights == PRETRAINED_HERE:
        raise ConfigError(
            "The teacher of this configuration has not been trained yet.", where="teacher.weights: pretrain",
            fix="give one: --teacher RUN after stage 1, --teacher efficientnet-lite0, or --teacher none",
        )  # fmt: skip
    return build_teacher(config, source)


def _section(text: str, first: str, where: str) -> dict[str, Any]:
    """``NAME``, ``key=value,key=[1, 2]`` or a YAML mapping as a mapping; a bare name is the value of ``first``."""
    try:
        if text.lstrip().startswith("{"):
            content = yaml.safe_load(text)
        elif "=" in text:
            pairs = [part.partition("=") for part in _parts(text)]
            if not all(sign for _, sign, _ in pairs):
                raise ConfigError(
                    "A part is no key=value.", where=where, received=text, expected="modality=image,size=96"
                )
            content = {key.strip(): yaml.safe_load(value) for key, _, value in pairs}
        else:
            content = {first: text}
    except yaml.YAMLError as error:
        raise ConfigError("A value is not valid YAML.", where=where, received=text) from error
    if not isinstance(content, dict):
        raise ConfigError("This is no mapping.", where=where, received=text, expected="{modality: image, size: 96}")
    return content


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


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
