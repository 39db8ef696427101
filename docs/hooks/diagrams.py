"""Drawings of docs/assets/ stand in the page itself, so that they take its colours, light or dark."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_DRAWING = re.compile(r'<img alt="([^"]*)" src="(?:\.\./)*(assets/[\w-]+\.svg)"\s*/?>')


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The drawing's own text instead of a link to it."""

    def drawing(found: re.Match[str]) -> str:
        text = (Path(config.docs_dir) / found[2]).read_text(encoding="utf-8")
        return text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{found[1]}"', 1).strip()

    return _DRAWING.sub(drawing, html)
