"""Formulas as MathML, which browsers draw by themselves: ``$`x`$`` within a line, and blocks fenced as ``math``.

Both are GitHub's notation, so the pages read the same there.
"""

from __future__ import annotations

import re

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_BLOCK = re.compile(r"^```math\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"\$`([^`]+)`\$")
_WIDE = 24  # signs that fit a line of a telephone
_OPENED = r"&#x00028;</mo>|&#x0005B;</mo>|<mrow>|<math[^>]*>"
_SIGN = re.compile(rf"({_OPENED}|&#x0003D;</mo>|&#x02264;</mo>)<mo>&#x02212;</mo>")  # of a number, not between two
_FUNCTION = re.compile(rf"({_OPENED})?<m[io]>(log|exp|tanh|min|max|sup)</m[io]>(<mo stretchy=\"false\">&#x00028;)?")
_NUMBER = re.compile(r"\\tag\{(\d+)\}")
_PLACE = re.compile(r"(?:<p>)?MATHS(\d+)X(?:</p>)?")

_formulas: list[str] = []


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Takes the formulas out, so that Markdown leaves their underscores alone."""
    _formulas.clear()

    def keep(html: str) -> str:
        _formulas.append(html)
        return f"MATHS{len(_formulas) - 1}X"

    markdown = _BLOCK.sub(lambda found: keep(_block(found[1])), markdown)
    return _INLINE.sub(lambda found: keep(_within_a_line(found[1])), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts them back."""
    return _PLACE.sub(lambda found: _formulas[int(found[1])], html)


def mathml(source: str, display: str = "inline") -> str:
    """One formula in LaTeX as a ``<math>`` element, with the room around its signs that mathematicians give them."""
    html = convert(source.replace(r"\_", "_"), display=display)
    html = html.replace(
        '<mo stretchy="false">&#x0007C;</mo>', '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>'
    )
    html = _SIGN.sub(r'\1<mo form="prefix">&#x02212;</mo>', html)
    return _FUNCTION.sub(_spaced, html)


def _spaced(found: re.Match[str]) -> str:
    before, name, after = found.groups()
    left, right = ("0" if edge else "0.167em" for edge in (before, after))
    return f'{before or ""}<mo lspace="{left}" rspace="{right}">{name}</mo>{after or ""}'


def _within_a_line(source: str) -> str:
    """A formula that may be too long for a narrow screen, on which it scrolls by itself, says so."""
    signs = len(re.sub(r"\\[a-zA-Z]+|[{}\s\\]", "", source))
    return f'<span class="wide">{mathml(source)}</span>' if signs > _WIDE else mathml(source)


def _block(source: str) -> str:
    """Each line of a block is a formula, with its number at the right; links can lead to ``#eq-NUMBER``."""
    html = []
    for line in source.split("\n"):
        if line.startswith((r"\begin{align*}", r"\end{align*}")):
            continue
        number = _NUMBER.search(line)
        formula = mathml(_NUMBER.sub("", line).removeprefix("& ").rstrip().removesuffix(r"\\"), display="block")
        anchor, label = (f' id="eq-{number[1]}"', f"({number[1]})") if number else ("", "")
        html.append(f'<div class="formula"{anchor}><div>{formula}</div><span>{label}</span></div>')
    return '<div class="formulas">' + "".join(html) + "</div>"
