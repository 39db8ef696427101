"""Everything that the documentation tells to type could be right: names, options, keys, extras, syntax.

`make test-docs` goes further and runs it.
"""

from __future__ import annotations

import ast
import re

import pytest
import yaml
from tests.documentation.exceptions import EXCEPTIONS, SMALLER, Rule
from tests.documentation.parsing import (
    check,
    check_crossdistill,
    check_extras,
    check_yaml,
    forms,
    is_syntax,
    names_a_command,
    simple_commands,
)
from tests.documentation.reading import ROOT, Piece, commands, everything, of_page, pages

# YAML that is no configuration of ours, by where it stands, with what it is.
OTHER_YAML: dict[str, str] = {}


def of_kind(kind: str) -> list[object]:
    """The pieces of one kind, each a test of its own. The same text is looked at once."""
    first = {piece.text: piece for piece in reversed(everything()) if piece.kind == kind}
    return [pytest.param(piece, id=piece.place.replace(" ", "-")) for piece in reversed(first.values())]


@pytest.mark.parametrize("piece", of_kind("shell"))
def test_a_command_is_one(piece: Piece) -> None:
    tried = 0
    for form in forms(piece.text) if piece.inline and is_syntax(piece.text) else [piece.text]:
        for words in simple_commands(form):
            tried += 1
            if piece.inline and words[0] == "crossdistill" and names_a_command(words):
                continue  # speaks of a command
            try:
                check(words)
            except Exception as error:
                message = getattr(error, "format_message", lambda error=error: str(error))()
                pytest.fail(f"{piece.place}: {' '.join(words)}\n{type(error).__name__}: {message}")
    assert tried, f"{piece.place}: nothing of {piece.text!r} was understood"


@pytest.mark.parametrize("piece", of_kind("yaml"))
def test_a_configuration_is_valid(piece: Piece) -> None:
    if not check_yaml(piece.text):
        assert any(piece.place.startswith(place) for place in OTHER_YAML), (
            f"{piece.place} has no key of a configuration"
        )


@pytest.mark.parametrize("piece", of_kind("python"))
def test_python_compiles(piece: Piece) -> None:
    compile(piece.text, piece.place, "exec")
    for node in ast.walk(ast.parse(piece.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "crossdistill":
            module = __import__(node.module, fromlist=[alias.name for alias in node.names])
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{piece.place}: {node.module} has no {missing}"


def test_every_extra_that_is_named_is_one() -> None:
    """In the pages and in the messages of the code."""
    for path in [*pages(), *sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.*"))]:
        if path.suffix in (".md", ".py", ".yaml", ".ipynb"):
            check_extras(path.read_text(encoding="utf-8"))


def test_every_block_has_a_known_language() -> None:
    assert not {piece.place: piece.text for piece in everything() if piece.kind == "unknown"}


def test_pages_have_commands_at_all() -> None:
    """So that an extractor that finds nothing is no success."""
    found = everything()
    assert len([piece for piece in found if piece.kind == "shell"]) > 100
    assert len([piece for piece in found if piece.kind == "yaml"]) > 20
    assert len([piece for piece in found if piece.kind == "python"]) > 10
    for name in (
        "README.md",
        "docs/cli.md",
        "docs/bank.md",
        "examples/sets/dial.yaml",
        "crossdistill bank info --help",
    ):
        assert any(piece.file == name and piece.kind == "shell" for piece in found), name


class TestReading:
    """The extractor itself, on pages whose pieces are known."""

    def test_blocks_sentences_and_tables(self) -> None:
        page = (
            "# A page\n\nRun `crossdistill demo --out x`, a *variant* of\n`make demo`; `crossdistill.load` is none.\n\n"
            "| a |\n|---|\n| `crossdistill report RUN\\|BANK` |\n\n"
            "This is `mine.yaml`:\n\n```yaml\npairs: emoji\n```\n\n"
            "```\n# a note\ncrossdistill run mine.yaml \\\n    train.epochs=1  # short\npip install 'a#b'\n```\n\n"
            "```\nloss 0.3\n```\n\n    make test  # indented\n"
        )
        found = [(piece.kind, piece.line, piece.text, piece.named) for piece in of_page(page, "page.md")]
        assert found == [
            ("shell", 3, "crossdistill demo --out x", None),
            ("shell", 4, "make demo", None),
            ("shell", 8, "crossdistill report RUN|BANK", None),
            ("yaml", 13, "pairs: emoji\n", "mine.yaml"),
            ("shell", 18, "crossdistill run mine.yaml train.epochs=1", None),
            ("shell", 20, "pip install 'a#b'", None),
            ("shell", 27, "make test", None),
        ]

    def test_admonitions_and_tabs(self) -> None:
        page = (
            "!!! note\n\n    ```bash\n    make test\n    ```\n\n"
            '=== "One"\n\n    !!! tip\n\n        ```\n        make lint\n        ```\n\nend\n'
        )
        assert [(piece.line, piece.text) for piece in of_page(page, "page.md")] == [(4, "make test"), (12, "make lint")]

    def test_a_loop_and_a_session(self) -> None:
        assert [text for _, text in commands("for a in 1 2\ndo\n  echo $a\ndone\n")] == [
            "for a in 1 2\ndo\n  echo $a\ndone\n"
        ]
        assert list(commands("$ make test\n12 passed\n$ make lint\n")) == [(0, "make test"), (2, "make lint")]

    def test_an_unknown_language_is_told(self) -> None:
        (piece,) = of_page("```pyhton\nx\n```\n", "page.md")
        assert (piece.kind, piece.text) == ("unknown", "pyhton")

    def test_forms_of_a_syntax(self) -> None:
        assert forms("crossdistill bank info BANK|RUN [--json]") == [
            "crossdistill bank info runs/mine/bank", "crossdistill bank info runs/mine",
            "crossdistill bank info runs/mine/bank --json", "crossdistill bank info runs/mine --json",
        ]  # fmt: skip
        assert list(simple_commands("for k in 0 1; do A=b crossdistill run x k=$k > log; done | tee y")) == [
            ["for", "k", "in", "0", "1"], ["crossdistill", "run", "x", "k=$k"], ["tee", "y"],
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "wrong",
        [
            "run", "run a.yaml trian.epochs=3", "evaluate runs/a evaluate.shot=[1]",
            "embed runs/a x.png --modality target", "report a b", "demo --epochs 3", "bank mend runs/a",
            "data build dial --out x keeps=1", "data build emojis --out x",
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_found(self, wrong: str) -> None:
        with pytest.raises(Exception):  # noqa: B017, PT011  (typer's own, ours, and plain ones)
            check_crossdistill(wrong.split())

    @pytest.mark.parametrize(
        "wrong",
        [
            "make tset", "pip install 'crossdistill[serv]'", "python -m benchmarks.emoij",
            "python -m benchmarks.emoji --sedes 3",
            "torchrun --processes 2 -m crossdistill run mine.yaml", "torchrun -m crossdistill rum mine.yaml",
            "python examples/none.py", "python -m pytest tests/none",
        ],
    )  # fmt: skip
    def test_what_is_wrong_elsewhere_is_found(self, wrong: str) -> None:
        with pytest.raises(Exception):  # noqa: B017, PT011
            check(next(simple_commands(wrong)))

    def test_a_wrong_key_of_a_fragment_is_found(self) -> None:
        from crossdistill.errors import ConfigError

        with pytest.raises(ConfigError):
            check_yaml("target: {modality: depth, nera: 3}")
        assert not check_yaml("jobs: {build: {}}")


def test_the_makefile_says_what_it_runs() -> None:
    """Its own python -m lines hold, too."""
    lines = re.findall(r"\$\(BIN\)/(python -m (?:benchmarks|tests)\S* ?[^\n]*)", (ROOT / "Makefile").read_text())
    assert lines
    for line in lines:
        check(next(simple_commands(line)))


@pytest.mark.parametrize("rule", [*EXCEPTIONS, *SMALLER], ids=lambda rule: f"{rule.where} {rule.pattern}".strip())
def test_no_stale_exception_of_execution(rule: Rule) -> None:
    """Each exception has its reason, and something that it is about."""
    assert len(rule.reason.split()) >= 2
    assert any(rule.about(piece) for piece in everything() if piece.kind in ("shell", "python")), "matches nothing"


def test_no_stale_exception() -> None:
    places = {piece.place for piece in everything() if piece.kind == "yaml"}
    assert all(any(place.startswith(known) for place in places) and why for known, why in OTHER_YAML.items())
    assert all(isinstance(yaml.safe_load(piece.text), dict) for piece in everything() if piece.kind == "yaml")
