"""One page for each part of the library with its public names, from the code: those of ``__all__``, and the errors."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "crossdistill"
SECTION = "Python API"  # of the navigation: it gets the pages

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):<code>~?([\w.]+)</code>")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages into the navigation."""
    entries = [{name.removeprefix("crossdistill."): uri(name)} for name in public_names()]

    def fill(nav: list[object]) -> None:
        for item in nav:
            for title, content in item.items() if isinstance(item, dict) else ():
                if title == SECTION:
                    item[title] = entries  # type: ignore[index]
                elif isinstance(content, list):
                    fill(content)

    fill(config.nav or [])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for module, names in public_names().items():
        summary = (ast.get_docstring(_parsed(module)) or "").split("\n\n")[0]
        parts = [f"# {module}", summary, *(f"::: {module}.{name}" for name in names)]
        files.append(File.generated(config, uri(module), content="\n\n".join(parts)))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Sphinx's roles, which docstrings have for editors, as names."""
    return _ROLE.sub(lambda found: f"<code>{found[1].rpartition('.')[2]}</code>", html)


def uri(module: str) -> str:
    """Where a module's page lies."""
    return f"api/{module.replace('.', '-')}.md"


@cache
def public_names() -> dict[str, list[str]]:
    """The public names of each module that says what they are."""
    rooms = [f"crossdistill.{each.parent.name}" for each in sorted(PACKAGE.glob("*/__init__.py"))]
    found = {module: sorted(names, key=_order) for module in ["crossdistill", *rooms] if (names := _exported(module))}
    found["crossdistill.advisor.advice"] = ["advise", "Advice"]
    found["crossdistill.errors"] = [
        each.name for each in _parsed("crossdistill.errors").body if isinstance(each, ast.ClassDef)
    ]
    return dict(sorted(found.items()))


def _exported(module: str) -> list[str]:
    """What ``__all__`` lists, but for the version."""
    for each in _parsed(module).body:
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(each.value) if name != "__version__"]
    return []


def _parsed(module: str) -> ast.Module:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _order(name: str) -> tuple[bool, str]:
    """Functions before classes before constants, each by name."""
    return name.isupper() and len(name) > 4, name
