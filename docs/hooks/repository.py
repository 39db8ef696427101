"""Links that leave docs/: the example, result or text that they lead to becomes a page of the site.

The pages of docs/ are read in the repository too, so their links to ``../examples/emoji.yaml`` stay as they are there.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
INTO = "repository"
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".sh": "bash", "": "text"}

_LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?=\))")
_CELL_CODE = re.compile(r"(?<=<td>).*\\\|.*(?=</td>)")
_origins: dict[str, Path] = {}  # generated page -> the file or folder that it shows


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page, or a plain file, for everything that is linked to, and for what these link to in turn."""
    _origins.clear()
    waiting = [place for file in files.documentation_pages() for place in _leaving(DOCS / file.src_uri)]
    while waiting:
        place = waiting.pop()
        uri = _uri(place)
        if uri in _origins:
            continue
        _origins[uri] = place
        if uri.endswith(".md"):
            files.append(File.generated(config, uri, content=_page(place)))
            waiting += _children(place) if place.is_dir() else _leaving(place)
        else:
            files.append(File.generated(config, uri, abs_src_path=str(place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to repository files lead to their pages."""
    uri = page.file.src_uri
    origin = _origins.get(uri, DOCS / uri)
    if origin.suffix != ".md":
        return markdown

    def moved(link: re.Match[str]) -> str:
        target = (origin.parent / link["path"]).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            return link[0]
        return posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".") + (link["anchor"] or "")

    return outside_code(markdown, lambda text: _LINK.sub(moved, text))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Bars within code in tables, which GitHub wants with a backslash and shows without."""
    return _CELL_CODE.sub(lambda found: found[0].replace("\\|", "|"), html)


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """``change`` applied to what stands outside of fences."""
    parts = re.split(r"(^(?:```|~~~).*?^(?:```|~~~)\s*$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if index % 2 else change(part) for index, part in enumerate(parts))


def _uri(place: Path) -> str:
    """Where a file of the repository lies in the site."""
    if place.is_relative_to(DOCS):
        return place.relative_to(DOCS).as_posix()
    name = place.relative_to(ROOT).as_posix()
    if place.is_dir():
        return f"{INTO}/{name}/index.md"
    if place.suffix in LANGUAGES or place.suffix == ".ipynb":
        return f"{INTO}/{name}.md"
    return f"{INTO}/{name}"


def _leaving(page: Path) -> list[Path]:
    """The existing files and folders outside of docs/ that a Markdown file links to."""
    if page.suffix != ".md" or not page.is_file():
        return []
    targets = ((page.parent / link["path"]).resolve() for link in _LINK.finditer(page.read_text(encoding="utf-8")))
    return [each for each in targets if each.exists() and each.is_relative_to(ROOT) and not each.is_relative_to(DOCS)]


def _children(folder: Path) -> list[Path]:
    return sorted(
        each
        for each in folder.iterdir()
        if not each.name.startswith((".", "__")) and each.suffix not in {".pyc", ".egg-info"}
    )


def _page(place: Path) -> str:
    name = place.relative_to(ROOT).as_posix()
    if place.is_dir():
        return f"# {name}\n\n" + _listing(place)
    if place.suffix == ".md":
        return place.read_text(encoding="utf-8")
    if place.suffix == ".ipynb":
        return "\n\n".join(_notebook(json.loads(place.read_text(encoding="utf-8"))))
    code = place.read_text(encoding="utf-8")
    return f"# {place.name}\n\n`{name}`\n\n````{LANGUAGES[place.suffix]}\n{code}\n````\n"


def _listing(folder: Path) -> str:
    base = posixpath.dirname(_uri(folder))
    return "\n".join(
        f"- [{each.name}{'/' if each.is_dir() else ''}]({posixpath.relpath(_uri(each), base)})"
        for each in _children(folder)
    )


def _notebook(notebook: dict[str, object]) -> Iterable[str]:
    """The cells of a notebook as Markdown, with their text results and pictures."""
    for cell in notebook["cells"]:  # type: ignore[attr-defined]
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
        elif cell["cell_type"] == "code" and source:
            yield f"````python\n{source}\n````"
            for output in cell.get("outputs", []):
                data = output.get("data", {"text/plain": output.get("text", "")})
                if "image/png" in data:
                    yield f"![result](data:image/png;base64,{''.join(data['image/png']).strip()})"
                elif text := "".join(data.get("text/plain", "")).rstrip():
                    yield f"````text\n{text}\n````"
