"""Builds the distributions, installs the wheel into an environment that has nothing of ours, and runs it there.

    python -m tests.distribution.fresh            # some minutes, and the download of torch
    python -m tests.distribution.fresh --folder F # keeps environment, wheel and runs in F, and uses F/environment again

In an empty folder, outside the tree, with the environment's own commands: --version, doctor, the whole of `demo`, and
an embedding of a file with the run that it made. Leaves with 1 and the output of the command that failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.distribution.building import copied


def call(*command: object, where: Path, clean: dict[str, str]) -> str:
    """Runs one command and gives what it printed; ends everything if it fails."""
    began = time.monotonic()
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=where, env=clean, capture_output=True, text=True, check=False)
    print(f"{time.monotonic() - began:7.1f} s  {' '.join(words)}", flush=True)
    if done.returncode:
        sys.exit(f"exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def trial(folder: Path) -> None:
    """Everything, in a folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    clean["CROSSDISTILL_CACHE"] = str(folder / "cache")
    tools, fresh = folder / "tools", folder / "environment"
    for place in (tools, fresh):
        if not (place / "bin" / "python").exists():
            call(sys.executable, "-m", "venv", place, where=folder, clean=clean)
    call(tools / "bin/pip", "install", "--quiet", "build", "twine", where=folder, clean=clean)

    out = Path(tempfile.mkdtemp(dir=folder, prefix="dist-"))
    tree = copied(Path(tempfile.mkdtemp(dir=folder, prefix="tree-")) / "crossdistill")
    call(
        tools / "bin/python", "-m", "build", "--outdir", out, tree, where=folder, clean=clean
    )  # the wheel from the sdist
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    print(f"{sdist.name}: {sdist.stat().st_size / 1024:.0f} KiB; {wheel.name}: {wheel.stat().st_size / 1024:.0f} KiB")
    call(tools / "bin/twine", "check", "--strict", sdist, wheel, where=folder, clean=clean)

    pip = fresh / "bin/pip"
    call(pip, "install", "--quiet", "--no-compile", f"{wheel}[demo]", where=folder, clean=clean)
    call(pip, "install", "--quiet", "--no-deps", "--force-reinstall", wheel, where=folder, clean=clean)
    call(pip, "check", where=folder, clean=clean)

    empty = Path(tempfile.mkdtemp(dir=folder, prefix="empty-"))
    where = call(
        fresh / "bin/python", "-c", "import crossdistill; print(crossdistill.__file__)", where=empty, clean=clean
    )
    assert Path(where.strip()).resolve().is_relative_to(fresh.resolve()), (
        f"crossdistill is not the installed one: {where}"
    )
    command = fresh / "bin/crossdistill"
    print("   ", call(command, "--version", where=empty, clean=clean).strip())
    found = json.loads(call(command, "doctor", "--json", where=empty, clean=clean))
    print("    doctor:", ", ".join(found))
    print(call(command, "demo", where=empty, clean=clean))
    metrics = json.loads((empty / "runs/demo/metrics.json").read_text(encoding="utf-8"))
    assert metrics["outcomes"], "the demo has no results"
    assert (empty / "runs/demo/report.html").stat().st_size > 100_000
    (picture, *_) = sorted((folder / "cache").rglob("target/*.png"))
    call(
        command, "embed", "runs/demo", picture, "--modality", "target", "--out", "one.parquet", where=empty, clean=clean
    )
    print("the wheel works")


def main() -> None:
    """The trial in a folder that is kept, or in one that is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    folder = parser.parse_args().folder
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext(str(folder)) if folder else tempfile.TemporaryDirectory() as place:
        trial(Path(place).resolve())


if __name__ == "__main__":
    main()
