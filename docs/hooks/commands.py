"""Every command with its options, from the program itself, where a page says ``<!-- generated: commands -->``."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

MARK = "<!-- generated: commands -->"

_KINDS = {
    "str": "text",
    "int": "number",
    "int range": "number",
    "float range": "number",
    "list[Path]": "paths",
    "list[str]": "texts",
}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the commands where the mark is."""
    return markdown.replace(MARK, commands()) if MARK in markdown else markdown


@cache
def commands() -> str:
    """What typer says of the command line, as Markdown below a second-level heading."""
    asked = [sys.executable, "-m", "typer", "crossdistill.cli.app", "utils", "docs", "--name", "crossdistill"]
    text = subprocess.run(asked, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    text = text[text.index("## `crossdistill ") :]  # the root's own options are those of any program
    text = re.sub(r"^#+ `(.*)`$", r"### \1", text, flags=re.MULTILINE)
    text = re.sub(r"^\* `--help`:.*\n", "", text, flags=re.MULTILINE)
    text = text.replace("**Options**:\n\n\n", "").replace("**Usage**:\n\n", "").replace("```console\n$ ", "```text\n")
    text = re.sub(r"\{(\w+)(\.\.\.)?\}(?:\.\.\.)?", r"\1\2", text)  # {INPUT...}... is INPUT...
    text = re.sub(r"^\* `([^`<]*?) ?(?:<(.*?)>)?`:", _argument, text, flags=re.MULTILINE)
    return re.sub(r"^Example: (.*)$", r"```\n\1\n```", text, flags=re.MULTILINE)


def _argument(found: re.Match[str]) -> str:
    kind = _KINDS.get(found[2] or "", found[2])
    return f"* `{found[1]}`" + (f" *{kind}*:" if kind else ":")
