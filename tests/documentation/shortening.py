"""Makes a training of the documentation short: one epoch and few pairs by settings at the end, all else as written.

A scenario's bin/crossdistill goes through :func:`main`, so that loops, pipes and scripts are shortened too.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PREPARED = ".prepared"  # in the scenario's folder: what may be made anew
TRAINING = ("run", "distill", "pretrain", "demo")


def short(content: Mapping[str, Any], command: str = "run") -> list[str]:
    """Settings that make a training of this configuration short."""
    found = []
    if command != "pretrain":
        found += ["train.epochs=1", "train.batch_size=32", "evaluate.draws=2"]
        found += ["evaluate.fine_tune.epochs=1", "evaluate.supervised.epochs=1"]
    if "segmentation" in (content.get("evaluate") or {}).get("protocols", ()):
        found += [f"evaluate.segmentation.{setting}" for setting in ("masks=[4,all]", "epochs=1", "steps=4")]
    if content.get("pretrain") is not None:
        found += ["pretrain.epochs=1", "pretrain.batch_size=32"]
    target = content.get("target") or {}
    pairs = content.get("pairs")
    if pairs == "emoji" or command == "demo":
        found.append("pairs=data/emoji/manifest.csv")
    elif pairs == {"builtin": "dial"}:
        found.append("pairs.options.pairs=120")
    if pairs == "pairs.csv" and target.get("modality") in ("depth", "audio"):
        found.append(f"pairs=pairs-{target['modality']}.csv")
    return found


def shortened(arguments: list[str]) -> list[str]:
    """The arguments of a command with what makes it short, and the scenario without what it makes anew."""
    command = arguments[0] if arguments else ""
    content: dict[str, Any] = {}
    configured = command in (*TRAINING, "bank", "compare") and command != "demo"
    if configured and not {"--help", "verify", "info"} & set(arguments):
        path = next((Path(word) for word in arguments if word.endswith((".yaml", ".yml"))), None)
        if path is not None and path.is_file():
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if command == "demo" and "--help" not in arguments:
        content = {"out": "runs/demo"}
    outs = _outs(arguments) or ([str(content.get("out"))] if content else [])
    make_room(outs)
    for name in outs:  # of another alternative of the same command, or of an example before that has other settings
        if name.startswith("made-by-") or (command == "bank" and _is_of_another_objective(Path(name), content)):
            shutil.rmtree(name, ignore_errors=True)
    more = short(content, command) if content and command in TRAINING else []
    if command == "compare" and content:
        more = [*short(content), "--seeds", "1", "--trials", "1"]
    if command == "data" and "dial" in arguments:
        more = ["pairs=120"]
    if command == "bank" and content:
        more = short(content)  # all of it, as the run that goes on from there is the same one
    if command in ("audit", "advise") and "pairs.csv" in arguments and "modality=depth" in " ".join(arguments):
        arguments = [word if word != "pairs.csv" else "pairs-depth.csv" for word in arguments]
    if command == "advise" and "--pairs" not in arguments and "--help" not in arguments:
        more = ["--pairs", "60"]
    return [*arguments, *more]


def _is_of_another_objective(run: Path, content: Mapping[str, Any]) -> bool:
    recorded = run / "config.yaml"
    wanted = content.get("objective")
    if not recorded.is_file() or not isinstance(wanted, Mapping):
        return False
    present = yaml.safe_load(recorded.read_text(encoding="utf-8"))["objective"]
    return any(present.get(key) != value for key, value in wanted.items())


def _outs(arguments: list[str]) -> list[str]:
    joined = " ".join(arguments)
    return re.findall(r"(?:^|\s)(?:--out[ =]|out=)(\S+)", joined)


def make_room(names: list[str]) -> None:
    """Removes what the scenario came with, the first time that something else makes it."""
    note = Path(PREPARED)
    there = note.read_text(encoding="utf-8").split() if note.is_file() else []
    for name in {name.rstrip("/") for name in names} & set(there):
        shutil.rmtree(name, ignore_errors=True)
        there.remove(name)
    note.write_text("\n".join(there), encoding="utf-8")


def main() -> None:
    """What stands in for the command ``crossdistill``."""
    from tests.documentation.warm import ask

    sys.exit(ask(["crossdistill", *shortened(sys.argv[1:])]))
