"""Takes out of the documentation what a reader may type: commands, Python and configurations, with file and line."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

# What a line has to begin with to be a command, where the block does not say that it is shell.
STARTERS = (
    "crossdistill", "python", "python3", "make", "torchrun", "pip", "curl", "apt-get", "npm", "docker", "mkdocs",
    "sbatch", "srun", "git", "cd", "mkdir", "for", "huggingface-cli", "hf", "ssh", "wget", "uv", "jupyter",
    "tensorboard",
)  # fmt: skip
# Inline code is a command only if it is one of these with something behind it.
INLINE = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:crossdistill |python3? -m |python3? \S+\.py\b|make [a-z]|torchrun .|pip install |curl )"
)
SHELL = ("bash", "sh", "shell", "console")
# Any other word behind a fence is taken for a slip of the pen.
LANGUAGES = (
    *SHELL, "", "python", "yaml", "csv", "json", "text", "html", "javascript", "toml", "ini", "http", "dockerfile",
    "nginx", "math", "mermaid",
)  # fmt: skip

Kind = Literal["shell", "python", "yaml", "data", "unknown"]


@dataclass(frozen=True)
class Piece:
    """One thing a reader may type or copy.

    Attributes:
        kind: a command, Python, YAML, the content of another file, or a block whose language nobody knows.
        text: as it stands there; a command without its comment and continued lines put together.
        file: relative to the root, or the command whose help it is in.
        line: from 1.
        inline: whether it stands within a sentence or a table.
        named: the file that the page says it is, such as ``mine.yaml``.
    """

    kind: Kind
    text: str
    file: str
    line: int
    inline: bool = False
    named: str | None = None

    @property
    def place(self) -> str:
        """Where it stands, as an editor opens it."""
        return f"{self.file}:{self.line}"


def pages() -> list[Path]:
    """All documents, in a fixed order."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@functools.cache
def everything() -> tuple[Piece, ...]:
    """All pieces of the pages, of the commands' help and of the examples' headers."""
    found = [piece for page in pages() for piece in of_page(page.read_text(encoding="utf-8"), _relative(page))]
    found += of_help()
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        found += of_example(path)
    for path in sorted((ROOT / "examples").rglob("*.py")):
        found += of_docstring(path)
    return tuple(found)


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def of_page(text: str, file: str) -> list[Piece]:
    """The pieces of a Markdown page, in the order of the page."""
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(_unindented(text))
    found: list[Piece] = []
    said = ""  # what stands before a block: where it says what file the block is
    row = 0
    for token in tokens:
        if token.map is not None and token.type in ("tr_open", "paragraph_open", "heading_open"):
            row = token.map[0] + 1
        if token.type == "inline":
            said = token.content
            found += _of_sentence(token, file, row)
        elif token.type in ("fence", "code_block") and token.map is not None:
            fenced = token.type == "fence"
            language = token.info.split()[0].lower() if token.info.strip() else ""
            found += _of_block(token.content, language, file, token.map[0] + 1 + fenced, _named(token.info, said))
            said = ""
    return found


def _unindented(text: str) -> str:
    """Admonitions and tabs of the site's theme as plain blocks, line for line."""
    lines: list[str] = []
    depths: list[int] = []
    fence = ""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        while depths and line.strip() and indent < depths[-1]:
            depths.pop()
        depth = depths[-1] if depths else 0
        content = line[depth:]
        if (opening := re.match(r"\s*(```+|~~~+)", content)) and (not fence or content.strip() == fence):
            fence = "" if fence else opening[1]
        elif not fence and re.match(r"(!!!|\?\?\?\+?) \w+|===!? \"", content):
            depths.append(depth + 4)
            content = ""
        lines.append(content)
    return "\n".join(lines) + "\n"


def _named(info: str, said: str) -> str | None:
    """The file that a block is: its title, or the last file in the sentence before it, if that ends in a colon."""
    if title := re.search(r'title="([^"]+)"', info):
        return title[1]
    names: list[str] = re.findall(r"`([\w./-]+\.(?:yaml|yml|csv|py|json))`", said)
    return names[-1] if names and said.rstrip().endswith(":") else None


def _of_sentence(token: Any, file: str, row: int) -> Iterator[Piece]:
    line = row
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            line += 1
        elif child.type == "code_inline" and INLINE.match(child.content):
            yield Piece("shell", child.content.strip(), file, line, inline=True)


def _of_block(content: str, language: str, file: str, line: int, named: str | None) -> Iterator[Piece]:
    if language not in LANGUAGES:
        yield Piece("unknown", language, file, line)
    elif language == "python":
        yield Piece("python", content, file, line, named=named)
    elif language == "yaml":
        yield Piece("yaml", content, file, line, named=named)
    elif language in SHELL or (language == "" and _is_shell(content)):
        yield from (Piece("shell", text, file, line + down) for down, text in commands(content))
    elif named is not None:
        yield Piece("data", content, file, line, named=named)


def _is_shell(content: str) -> bool:
    lines = [line.strip() for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return bool(lines) and _first_word(lines[0].removeprefix("$ ")) in STARTERS


def _first_word(line: str) -> str:
    """The program of a command, behind settings such as ``WANDB_MODE=offline``."""
    return next((word for word in line.split() if not re.match(r"[A-Z_]+=", word)), "")


def commands(content: str) -> Iterator[tuple[int, str]]:
    """The commands of a block with their line in it, from 0. A script or a loop over several lines is one command."""
    lines = content.splitlines()
    whole = content.startswith("#!") or "<<" in content
    whole = whole or any(
        re.match(r"\s*(for|while|if) ", line) and not re.search(r"\b(done|fi)\b", line) for line in lines
    )
    if whole:
        yield 0, content
        return
    shown = any(line.startswith("$ ") for line in lines)  # a session: lines without a prompt are what was printed
    held, began = "", 0
    for number, line in enumerate(lines):
        if shown and not held and not line.startswith("$ "):
            continue
        line = _uncommented(line.removeprefix("$ ")).strip()
        if not held:
            began = number
        held += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        if held.strip():
            yield began, " ".join(held.split(" ")).strip()
        held = ""


def _uncommented(line: str) -> str:
    """Without a comment; a # within quotes or within a word is none."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place]
    return line


def of_help() -> Iterator[Piece]:
    """The example that each command's help ends with."""
    for path, command in leaf_commands():
        epilog = command.epilog or ""
        if epilog.startswith("Example: "):
            yield Piece("shell", epilog.removeprefix("Example: "), f"crossdistill {path} --help", 1)


def leaf_commands() -> Iterator[tuple[str, Any]]:
    """Every command with its path, such as ``bank build``."""
    from typer.main import get_command

    from crossdistill.cli.app import app

    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                yield from walk(f"{path} {name}".strip(), inner)
        else:
            yield path, command

    return walk("", get_command(app))


def of_example(path: Path) -> Iterator[Piece]:
    """A configuration, and the commands in its header: comments that are indented."""
    content = path.read_text(encoding="utf-8")
    yield Piece("yaml", content, _relative(path), 1, named=_relative(path))
    for number, line in enumerate(content.splitlines(), 1):
        if not line.startswith("#"):
            break
        if line.startswith("#   "):
            yield Piece("shell", line.removeprefix("#   ").strip(), _relative(path), number)


def of_docstring(path: Path) -> Iterator[Piece]:
    """The commands in an example's docstring: lines that begin as one."""
    for number, line in enumerate(
        (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines(), 1
    ):
        if _first_word(line) in ("python", "torchrun", "crossdistill"):
            yield Piece("shell", line.strip(), _relative(path), number)
