"""One page for each part of the library with its public names, from the code: those of ``__all__``, and the errors."""

from __future__ import annotations

import re
from functools import cache, reduce
from operator import getitem

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

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
        described = reduce(getitem, module.split(".")[1:], _package())
        summary = described.docstring.value.split("\n\n")[0] if described.docstring else ""
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
    found = {}
    root = _package()
    for module in (root, *root.modules.values()):
        if module.exports is not None:
            found[module.path] = sorted((str(name) for name in module.exports if name != "__version__"), key=_order)
    found["crossdistill.advisor.advice"] = ["advise", "Advice"]
    found["crossdistill.errors"] = list(root["errors"].classes)
    return dict(sorted(found.items()))


@cache
def _package() -> griffe.Module:
    found = griffe.load("crossdistill", search_paths=["src"], resolve_aliases=False)
    assert isinstance(found, griffe.Module)
    return found


def _order(name: str) -> tuple[bool, str]:
    """Functions before classes before constants, each by name."""
    return name.isupper() and len(name) > 4, name
