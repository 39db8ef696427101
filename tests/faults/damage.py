"""Files of ours that are cut off, emptied, or have one bit turned."""

from __future__ import annotations

import glob
import random
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .case import Case
from .moments import SHARD, STEP
from .scene import Outcome, Scene

_IN_STAGE_2 = {"at": "call", "of": STEP, "nth": 28}  # at its step 10
_BEFORE_READ = {
    "pretrained": {"at": "call", "of": SHARD},
    "teacher": _IN_STAGE_2,
    "student": {"at": "replace", "of": r"baselines/l2/encoder\.json$", "point": "after"},
}  # until then these encoders are read from the disk once more
Damage = Callable[[Path], None]


def cut(path: Path) -> None:
    """Loses the second half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """Loses all of a file but its name."""
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Turns one bit in the second half of a file."""
    content = bytearray(path.read_bytes())
    place = random.Random(len(content)).randrange(len(content) // 2, len(content))
    content[place] ^= 1 << 3
    path.write_bytes(bytes(content))


DAMAGES: dict[str, Damage] = {"truncated": cut, "bit-flipped": flip, "empty": empty}


def damaged_files(scene: Scene) -> Iterator[Outcome]:
    """All cases."""
    for name, damage in DAMAGES.items():
        yield _newest_checkpoint(scene, name, damage)
    yield _checksum(scene)
    yield _all_checkpoints(scene)
    for matrix in ("embeddings", "views"):
        for name in ("truncated", "bit-flipped"):
            yield _finished_bank(scene, matrix, name)
    yield _description(scene)
    for matrix in ("embeddings", "views"):
        yield _half_built(scene, matrix)
    for folder in ("pretrained", "teacher", "student"):
        for name in ("truncated", "bit-flipped"):
            yield _encoder(scene, folder, name)


def interrupted(case: Case, hook: dict[str, object] = _IN_STAGE_2) -> Path:
    """A run that was killed, by default in stage 2."""
    out = case.scene.fresh()
    ended = case.scene.launcher.run(case.scene.arguments(out), [hook])
    case.need(ended.killed, f"it was not killed, but ended with code {ended.code}")
    case.seconds += ended.seconds
    return out


def _states(out: Path) -> list[Path]:
    return sorted((out / "checkpoints" / "distil-cmcd").glob("step-*.pt"))


def _newest_checkpoint(scene: Scene, name: str, damage: Damage) -> Outcome:
    case = Case(scene, "damaged checkpoint", f"the newest, {name}", "goes on from the one before, to equal bits")
    out = interrupted(case)
    *_, before, newest = _states(out)
    damage(newest)
    case.finishes(out, rf"{re.escape(newest.name)} is damaged", rf"going on from {re.escape(before.name)}")
    return case.outcome()


def _checksum(scene: Scene) -> Outcome:
    case = Case(scene, "damaged checkpoint", "the newest one's checksum, empty", "goes on from the one before")
    out = interrupted(case)
    empty(_states(out)[-1].with_suffix(".sha256"))
    case.finishes(out, "is damaged")
    return case.outcome()


def _all_checkpoints(scene: Scene) -> Outcome:
    case = Case(scene, "damaged checkpoint", "all of a stage", "exit 6 with the fix, which mends it, to equal bits")
    out = interrupted(case)
    for number, path in enumerate(_states(out)):
        list(DAMAGES.values())[number % 3](path)
    folder = out / "checkpoints" / "distil-cmcd"
    case.ended(scene.launcher.run(scene.arguments(out)), 6, "move this folder away", re.escape(str(folder)))
    shutil.rmtree(folder)
    case.finishes(out)
    return case.outcome()


def _finished_bank(scene: Scene, matrix: str, name: str) -> Outcome:
    expected = "exit 6 with file and command (and shard); the command mends it; equal bits"
    case = Case(scene, "damaged bank", f"finished {matrix}, {name}", expected)
    out = interrupted(case)
    path = out / "bank" / f"{matrix}.safetensors"
    if name == "truncated":
        cut(path)
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4  # in the embeddings, not in the hashes after them
        path.write_bytes(bytes(content))
    shard = () if name == "truncated" else (r"shard \d+, rows \d+ to \d+",)
    said = case.ended(scene.launcher.run(scene.arguments(out)), 6, re.escape(str(path)), *shard)
    _obey(case, said.text)
    case.finishes(out)
    return case.outcome()


def _obey(case: Case, text: str) -> None:
    """Gives the command that a message names."""
    found = re.search(r"(?:rm -r (?P<gone>\S+) && )?crossdistill (?P<command>bank build \S+)", text)
    case.need(found is not None, "the message names no command")
    if found is not None:
        for path in glob.glob(found["gone"] or ""):  # noqa: PTH207  # as the shell does
            shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
        case.ended(case.scene.launcher.run(shlex.split(found["command"])), 0)


def _description(scene: Scene) -> Outcome:
    case = Case(scene, "damaged bank", "its description, truncated", "exit 6 with a command; it mends it; equal bits")
    out = interrupted(case)
    cut(out / "bank" / "embeddings.json")
    said = case.ended(scene.launcher.run(scene.arguments(out)), 6, r"embeddings\.json")
    _obey(case, said.text)
    case.finishes(out)
    return case.outcome()


def _half_built(scene: Scene, matrix: str) -> Outcome:
    case = Case(scene, "damaged bank", f"half-built {matrix}, a finished shard bit-flipped", "computed again, silently")
    hook = {"at": "replace", "of": rf"{matrix}\.building/000000\.json", "point": "after"}
    out = interrupted(case, hook)
    path = out / "bank" / f"{matrix}.building" / f"{matrix}.safetensors"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1  # behind the header, in the first shard
    path.write_bytes(bytes(content))
    case.finishes(out)
    return case.outcome()


def _encoder(scene: Scene, folder: str, name: str) -> Outcome:
    expected = "exit 4 or 6, named with the fix, which mends it, to equal bits"
    case = Case(scene, "damaged weights", f"{folder}/model.safetensors, {name}", expected)
    out = interrupted(case, _BEFORE_READ[folder])
    path = out / folder / "model.safetensors"
    DAMAGES[name](path)
    said = scene.launcher.run(scene.arguments(out))
    case.ended(said, 4 if name == "truncated" else 6, re.escape(str(path)), "fix:.*delete")
    shutil.rmtree(out / folder)
    case.finishes(out)
    return case.outcome()
