"""``crossdistill doctor`` on the terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import typer

from crossdistill.doctor import Finding, Section, examination, failure

if TYPE_CHECKING:
    from rich.console import Console

_WORDS = {"ok": ("ok", "green"), "none": ("-", "dim"), "note": ("note", "yellow"), "bad": ("FAIL", "bold red")}
_VERSIONS = 8  # lines for packages that are as they should be
_PLAIN_WIDTH = 120  # columns where there is no terminal to ask


def examine(*, as_json: bool = False) -> None:
    """Prints the sections as they are found, or one JSON object.

    Raises:
        MissingDependencyError: a package that crossdistill cannot do without is missing or broken.
        StorageError: a folder that it writes to cannot be written.
        CrossDistillError: another part of the self-test failed.
    """
    sections = []
    console = None if as_json else terminal()
    for section in examination():
        sections.append(section)
        if console is not None:
            show(console, section)
    problem = failure(sections)
    if as_json:
        typer.echo(json.dumps(to_json(sections), indent=2, ensure_ascii=False))
    elif console is not None:
        summarise(console, sections)
    if problem is not None:
        raise problem


def terminal() -> Console:
    """Standard output; without colours where that is no terminal."""
    from rich.console import Console

    plain = not sys.stdout.isatty()
    width = _PLAIN_WIDTH if plain and "COLUMNS" not in os.environ else None
    return Console(width=width, highlight=False, no_color=plain or None, color_system=None if plain else "auto")


def to_json(sections: list[Section]) -> dict[str, Any]:
    """The whole examination as one object."""
    problem = failure(sections)
    return {
        "usable": problem is None,
        "exit_code": 0 if problem is None else problem.exit_code,
        "sections": {section.title: [each.to_json() for each in section.findings] for section in sections},
        "to_do": [{"name": name, "fix": fix, "needed": needed} for name, fix, needed in to_do(sections)],
    }


def to_do(sections: list[Section]) -> list[tuple[str, str, bool]]:
    """What could be done about what was found: name, what to do, and whether crossdistill needs it; needed first."""
    found: dict[str, tuple[str, bool]] = {}
    for section in sections:
        for each in section.findings:
            if each.fix:
                name, needed = found.get(each.fix, (each.name, False))
                found[each.fix] = (name, needed or each.status == "bad")
    lines = [(name, fix, needed) for fix, (name, needed) in found.items()]
    return sorted(lines, key=lambda line: not line[2])


def show(console: Console, section: Section) -> None:
    """One section: a title, and a line for each finding, with what to do below it."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=4, no_wrap=True)
    table.add_column(width=15, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    for each in shortened(section):
        word, style = _WORDS[each.status]
        value = Text(each.value, style="dim" if each.status == "none" else "")
        if each.fix:
            value.append(f"\n{each.fix}", style="cyan")
        table.add_row(Text(word, style=style), Text(each.name, style="dim" if each.status == "none" else ""), value)
    console.print(Text(section.title, style="bold"))
    console.print(table)
    console.print()


def shortened(section: Section) -> list[Finding]:
    """The lines; of many packages that are as they should be, those that matter most, and the others in one."""
    plain = [each for each in section.findings if each.status == "ok" and not each.fix]
    if section.title != "Versions" or len(plain) <= _VERSIONS:
        return section.findings
    others = plain[_VERSIONS:]
    line = Finding("others", ", ".join(f"{each.name} {each.value}" for each in others))
    return [*(each for each in section.findings if each not in others), line]


def summarise(console: Console, sections: list[Section]) -> None:
    """Whether it can be used, and what could be done."""
    from rich.table import Table
    from rich.text import Text

    lines = to_do(sections)
    needed = [line for line in lines if line[2]]
    bad = sum(each.status == "bad" for section in sections for each in section.findings)
    if bad:
        console.print(
            Text(f"crossdistill cannot work here yet: {bad} problem{'s' if bad > 1 else ''}.", style="bold red")
        )
    else:
        console.print(Text("crossdistill works here.", style="bold green"))
    for title, chosen in (("To do:", needed), ("Where you want it:", [line for line in lines if not line[2]])):
        if not chosen:
            continue
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=19, overflow="fold")
        table.add_column(ratio=1, overflow="fold")
        for name, fix, _ in chosen:
            table.add_row(Text(f"  {name}"), Text(fix, style="cyan"))
        console.print(title)
        console.print(table)
