"""Names of places on somebody's machine, and secrets in addresses, taken out of settings that go to strangers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_OF_A_USER = re.compile(r"~[\w.-]*([/\\].*)?", re.DOTALL)
# A home folder anywhere in a text, with what follows it up to a blank or a quote.
_HOMES = r"/home/|/Users/|/root/|[A-Za-z]:[\\/]Users[\\/]|~/"
_ENDS = r"[^\s'\"|;,&]*"


def without_places(value: Any) -> Any:
    """The same settings with paths of the machine cut down to their last part.

    Cut down are absolute paths, those that begin in a home folder (``~``), ``file:`` addresses, and home folders in the
    middle of a text. Of a command (``pipe:``) nothing is left, of an address on a network neither user nor query.
    """
    if isinstance(value, Mapping):
        return {key: without_places(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(each) for each in value]
    return _cut(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    if text.startswith("pipe:"):
        return "pipe:(a command)"
    if text.startswith("file:"):
        return f"file:{_last(text)}"
    if Path(text).is_absolute() or PureWindowsPath(text).is_absolute() or _OF_A_USER.fullmatch(text):
        return _last(text)
    if "://" in text and " " not in text:
        return _address(text)
    return re.sub(rf"[.~/\\]*(?:{_home()}|{_HOMES}){_ENDS}", lambda found: _last(found[0]), text)


def _home() -> str:
    """The folder of whoever publishes, which may lie anywhere."""
    home = str(Path.home())
    return re.escape(home.rstrip("/\\") + ("\\" if "\\" in home else "/")) if len(home) > 1 else "(?!)"


def _last(path: str) -> str:
    return PureWindowsPath(path).name  # which takes both kinds of slash


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return _last(text)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
