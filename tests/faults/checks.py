"""What must be so after a fault: no half file under a final name; and at the end the same bytes as without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image as Pillow
from safetensors import SafetensorError, safe_open

from crossdistill.files import sha256_file

_ASIDE = ("tensorboard",)  # event files have the time in their name
_TIMES = ("environment.json", "report.html", "config.yaml", "train.jsonl")  # hold times or the folder's name


def half_files(root: Path) -> list[str]:
    """Files under their final name that are not whole, with the reason."""
    found = []
    for path in sorted(root.rglob("*")) if root.is_dir() else []:
        relative = path.relative_to(root)
        if not path.is_file() or any(part.startswith(".") for part in relative.parts) or relative.parts[0] in _ASIDE:
            continue
        building = any(part.endswith(".building") for part in relative.parts)
        check = _CHECKS.get(path.suffix)
        if check is None or (building and path.suffix == ".safetensors"):
            continue
        try:
            check(path)
        except (ValueError, OSError, RuntimeError, SafetensorError, yaml.YAMLError, EOFError, SyntaxError) as error:
            found.append(f"{relative}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return found


def _jsonl(path: Path) -> None:
    """Every line but the last, which is being written."""
    for line in path.read_text().split("\n")[:-1]:
        json.loads(line)


def _safetensors(path: Path) -> None:
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118  # it is no dict
            file.get_tensor(name)


def _state(path: Path) -> None:
    checksum = path.with_suffix(".sha256")
    if checksum.is_file() and checksum.read_text().strip() != sha256_file(path):
        raise ValueError("another checksum")
    torch.load(path, weights_only=True)


def _picture(path: Path) -> None:
    with Pillow.open(path) as picture:
        picture.load()


def _page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("it breaks off")


_CHECKS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".yaml": lambda path: yaml.safe_load(path.read_text(encoding="utf-8")),
    ".jsonl": _jsonl,
    ".safetensors": _safetensors,
    ".pt": _state,
    ".sha256": lambda path: bytes.fromhex(path.read_text().strip().ljust(64, "x")),
    ".png": _picture,
    ".html": _page,
}


def differences(reference: Path, root: Path) -> list[str]:
    """Where a finished run differs from the reference: lists of files, bytes, lines of the log without times."""
    wanted, received = _listing(reference), _listing(root)
    found = [f"missing: {name}" for name in sorted(wanted - received)]
    found += [f"left over: {name}" for name in sorted(received - wanted)]
    for name in sorted(wanted & received):
        if name not in _TIMES and (reference / name).read_bytes() != (root / name).read_bytes():
            found.append(f"other bytes: {name}")
    if log_lines(reference) != log_lines(root):
        found.append("other lines: train.jsonl")
    return found + half_files(root)


def _listing(root: Path) -> set[str]:
    names = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {name.as_posix() for name in names if name.parts[0] not in _ASIDE}


def log_lines(root: Path) -> list[dict[str, Any]]:
    """The lines of ``train.jsonl`` without times."""
    path = root / "train.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
