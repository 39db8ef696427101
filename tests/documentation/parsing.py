"""Whether a command can be what it says: known command, options and arguments, known keys, modules, targets and extras.

Nothing is run here but the parsers of the commands themselves.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import itertools
import re
import runpy
import shlex
import sys
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from tests.documentation.reading import ROOT, everything, leaf_commands

# Words in capitals (and the general forms of settings) that stand for the reader's own, and something that fits.
STANDS_FOR = {
    "CONFIG": "mine.yaml", "CONFIG.yaml": "mine.yaml", "RUN": "runs/mine", "BANK": "runs/mine/bank",
    "BANK_OR_RUN": "runs/mine", "PAIRS": "pairs.csv", "T": "efficientnet-lite0", "TEACHER": "efficientnet-lite0",
    "INPUT": "sketches/", "DIR": "made", "FILE.parquet": "made.parquet", "NAME": "dial", "N": "2",
    "PACKAGE": "package", "INDEX": "photos.index", "K": "3", "FORMAT": "onnx", "PORT": "0", "FOLDER": "made",
    "FILE": "made", "META.csv": "meta.csv", "FILE.csv": "meta.csv", "key=value": "train.epochs=1",
    "evaluate.key=value": "evaluate.shots=[1]", "GALLERY": "photos/", "NAMES": "cmcd,l2",
}  # fmt: skip
_SETTINGS = {"data build": "keep=0.5"}  # what key=value stands for where it is no setting of a configuration
# What a word stands for behind an option, where that is something else.
_AFTER = {"--tolerance": "1e-3", "--controls": "random_student"}
_ENDS = {"&&", "||", ";", "|", "&", "do", "done", "then", "fi", "(", ")", "{", "}"}
_PLAIN = {"pairs": "pairs.csv", "out": "runs/any"}  # what a fragment of a configuration is put into


_OPTIONAL = re.compile(r"(?<=\s)\[([^\[\]]*)\]")


class _ParsedError(Exception):
    """The arguments are right: what would come next is the work itself."""


def forms(text: str) -> list[str]:
    """A syntax such as ``run CONFIG [key=value ...]`` as commands: without what is optional, and with all of it."""
    full = text
    while _OPTIONAL.search(full):
        full = _OPTIONAL.sub(r"\1", full)
    return list(dict.fromkeys([*bare_forms(text), *_chosen(full)]))


def bare_forms(text: str) -> list[str]:
    """The same without what is optional, in each of its alternatives."""
    while _OPTIONAL.search(text):
        text = _OPTIONAL.sub("", text)
    return _chosen(text)


def _chosen(form: str) -> list[str]:
    words = [word.removesuffix("...") for word in re.sub(r"\s\.\.\.", "", form).split()]
    choices = [word.split("|") if re.fullmatch(r"[\w./-]+(\|[\w./-]+)+", word) else [word] for word in words]
    command = " ".join(word for word in words[1:3] if word.islower() and "=" not in word)
    return [
        # Alternatives do not write into each other's folders.
        " ".join(_filled(word, before, f"{command} {number or ''}".strip())
                 for before, word in zip(["", *chosen], chosen, strict=False))
        for number, chosen in enumerate(itertools.product(*choices))
    ]  # fmt: skip


def _filled(word: str, before: str, command: str) -> str:
    """Something that fits in place of a word in capitals; ``before`` is the option that it may belong to."""
    name = command.rstrip(" 0123456789")
    if word == "CONFIG" and name == "pretrain":
        return "photos.yaml"  # mine.yaml has no stage 1
    if word == "key=value":
        return _SETTINGS.get(name, STANDS_FOR[word])
    if word == "DIR":
        return f"made-by-{command.replace(' ', '-')}"  # commands of a page do not write into each other's folders
    if word in STANDS_FOR:
        return _AFTER.get(before, STANDS_FOR[word])
    key, sign, value = word.rpartition("=")
    return key + sign + STANDS_FOR.get(value, value) if sign else word


def is_syntax(text: str) -> bool:
    """Whether a command is a general form, with optional parts, alternatives or words in capitals."""
    return bool(re.search(r"(?<=\s)\[[^\[\]]*\]|\.\.\.|\w\|\w", text)) or any(
        word in STANDS_FOR for word in text.split()
    )


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a line or a script, without settings before it and redirections behind it."""
    text = re.sub(r"(?m)^\s*#.*$", "", text).replace("\\\n", " ").replace("\n", " ; ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&<>()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if word in _ENDS:
            if words:
                yield words
            words = []
        elif skip or set(word) <= set("<>"):
            skip = not skip  # the redirection's sign, and then its file
        elif words or not re.match(r"[A-Za-z_]+=|srun$|exec$|time$|env$", word):
            words.append(word)


def check(words: list[str]) -> None:
    """Raises (an error of any kind) if one command cannot be right."""
    program, *arguments = words
    if program == "crossdistill":
        check_crossdistill(arguments)
    elif program in ("python", "python3"):
        _check_python(arguments)
    elif program == "torchrun":
        _check_torchrun(arguments)
    elif program == "make":
        _check_make(arguments)
    elif program == "pip":
        check_extras(" ".join(arguments))


@functools.cache
def _leaves() -> dict[str, Any]:
    return dict(leaf_commands())


def names_a_command(words: list[str]) -> bool:
    """Whether ``crossdistill`` is followed by a command's name alone, or by the name of a group of commands."""
    name = " ".join(words[1:])
    return any(path == name or path.startswith(f"{name} ") for path in _leaves())


def needs_arguments(words: list[str]) -> bool:
    """Whether the command that is named cannot run without arguments."""
    command = _leaves().get(" ".join(words[1:]))
    return command is None or any(parameter.required for parameter in command.params)


def check_crossdistill(arguments: list[str]) -> None:
    """Parses the command as the command line would, and its settings as the stages would."""
    if arguments in (["--help"], ["-h"], ["--version"], []):
        return
    path = next((each for each in (" ".join(arguments[:2]), arguments[0]) if each in _leaves()), None)
    if path is None:
        if arguments[1:] == ["--help"] and names_a_command(["", arguments[0]]):
            return
        raise ValueError(f"no such command: crossdistill {' '.join(arguments)}")
    rest = arguments[len(path.split()) :]
    if "--help" in rest:
        return
    values = _leaves()[path].make_context(path, list(rest)).params
    if path == "data build":
        _check_set(values)
    elif values.get("overrides"):
        _check_settings(path, values)


def _check_set(values: dict[str, Any]) -> None:
    from crossdistill.pairs.builtin import builtin_set
    from crossdistill.validation import validated

    options = {key: _value(value) for key, _, value in (text.partition("=") for text in values["options"] or [])}
    validated(builtin_set(values["name"]).options, options)


def _value(text: str) -> Any:
    return 1 if text.startswith("$") else yaml.safe_load(text)


def _check_settings(path: str, values: dict[str, Any]) -> None:
    from crossdistill.pipeline import demo_config
    from crossdistill.pipeline.config import make_config

    content = dict(_PLAIN) if path == "evaluate" else demo_config()
    if "config" in values:
        content = configuration_called(str(values["config"])) or content
    if path == "pretrain":
        content = {"pretrain": {}, **content, "teacher": {"weights": "pretrain"}}
    make_config(content, values["overrides"])


@functools.cache
def _configurations() -> dict[str, str]:
    return {piece.named: piece.text for piece in reversed(everything()) if piece.kind == "yaml" and piece.named}


def configuration_called(name: str) -> dict[str, Any] | None:
    """The configuration of that name in the documentation or in examples/."""
    text = _configurations().get(name, _configurations().get(f"examples/{name}"))
    return None if text is None else dict(yaml.safe_load(text))


def check_yaml(text: str) -> bool:
    """Validates a configuration, or a part of one. Returns whether it is one at all."""
    from crossdistill.compare import CompareConfig
    from crossdistill.pipeline.config import RunConfig, make_config
    from crossdistill.validation import validated

    content = yaml.safe_load(text)
    if not isinstance(content, dict) or not set(content) & set(RunConfig.model_fields):
        return False
    if "pretrain" in content and "teacher" not in content:
        content["teacher"] = {"weights": "pretrain"}
    if "compare" in content:
        validated(CompareConfig, content.pop("compare"), "compare")
    make_config({**_PLAIN, **content})
    return True


def _check_python(arguments: list[str]) -> None:
    if arguments[:1] == ["-m"]:
        name, rest = arguments[1], arguments[2:]
        if name == "crossdistill":
            check_crossdistill(rest)
        elif name == "pytest":
            for part in (word for word in rest if not word.startswith("-")):
                assert (ROOT / part.partition("::")[0]).exists(), f"there is no {part}"
        elif name in ("pip", "build", "venv", "http", "mkdocs", "ipykernel"):
            check_extras(" ".join(rest))
        else:
            assert importlib.util.find_spec(name) is not None, f"there is no module {name}"
            _try_arguments(name, rest)
    elif arguments and arguments[0].endswith(".py"):
        if (ROOT / arguments[0]).is_file():
            _try_arguments(arguments[0], arguments[1:])
        elif not _is_exported(arguments[0]):  # a file of the reader's own, which a page shows
            assert any(piece.named == arguments[0] for piece in everything()), f"no page shows {arguments[0]}"


def _is_exported(name: str) -> bool:
    """Whether an export of a page leaves this program: ``example.py`` in its ``--out``."""
    folder, _, file = name.rpartition("/")
    made = rf"crossdistill export .*--out {re.escape(folder)}(\s|$)"
    return file == "example.py" and any(re.search(made, piece.text) for piece in everything() if piece.kind == "shell")


def _try_arguments(program: str, arguments: list[str]) -> None:
    """Lets the program's own parser read its arguments, and stops it there."""
    path = ROOT / program if program.endswith(".py") else Path(str(importlib.util.find_spec(program).origin))  # type: ignore[union-attr]
    if path.name == "__init__.py":
        path = path.with_name("__main__.py")
    if not re.search("argparse|read_arguments", path.read_text(encoding="utf-8")):
        assert not arguments, f"{program} takes no arguments"
        return
    real = ArgumentParser.parse_args

    def stopping(self: ArgumentParser, *given: Any, **named: Any) -> Namespace:
        real(self, *given, **named)
        raise _ParsedError

    said = io.StringIO()
    with (
        mock.patch.object(ArgumentParser, "parse_args", stopping),
        mock.patch.object(sys, "argv", [program, *arguments]),
        mock.patch.dict(sys.modules),
        contextlib.redirect_stderr(said),
    ):
        try:
            if program.endswith(".py"):
                runpy.run_path(str(path), run_name="__main__")
            else:
                sys.modules.pop(f"{program}.__main__" if path.name == "__main__.py" else program, None)
                runpy.run_module(program, run_name="__main__")
        except _ParsedError:
            return
        except SystemExit as leaving:
            raise AssertionError(f"{program} does not take {arguments}: {said.getvalue()}") from leaving
    raise AssertionError(f"{program} did not parse its arguments")


def _check_torchrun(arguments: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    filled = ["8" if word.startswith("$") else word for word in arguments]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = get_args_parser().parse_args(filled)
    except SystemExit as leaving:
        raise AssertionError(said.getvalue()) from leaving
    _check_python(["-m"] * parsed.module + [parsed.training_script, *parsed.training_script_args])


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in arguments:
        name, sign, _ = word.partition("=")
        pattern = rf"(?m)^{re.escape(name)} \??=" if sign else rf"(?m)^{re.escape(name)}:(?!=)"
        assert re.search(pattern, makefile), f"the Makefile has no {name}"


@functools.cache
def extras() -> set[str]:
    """The extras that pyproject.toml declares."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(declared["project"]["optional-dependencies"])


def check_extras(text: str) -> None:
    """Every ``crossdistill[EXTRA,...]`` and ``.[EXTRA]`` in a text names extras that there are."""
    for found in re.findall(r"(?:\bcrossdistill|(?<![\w])\.)\[([a-zA-Z0-9_, ]+)\]", text):
        unknown = {name.strip() for name in found.split(",")} - extras() - {"EXTRA"}
        assert not unknown, f"no such extra: {', '.join(sorted(unknown))}"
