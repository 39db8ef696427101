"""From `pip install` to the first result on one's own pairs: what has to be typed, and whether it runs.

    python -m benchmarks.ease            # counts, prints the table of docs/ease.md
    python -m benchmarks.ease --run      # tries each in an environment of its own; writes results/DATE-ease.json
    python -m benchmarks.ease --only open_clip --run

The job: pairs.csv names photographs and sketches of the same things, without labels. A pretrained encoder of
photographs teaches an encoder of sketches; the first result is a file with the sketches' embeddings. Each folder has
what a reader types for that in one package, or for the nearest that it does.

With --run, pip makes the environments, the pairs are 96 emoji, trainings last one epoch, and where a package would
download a teacher there are random weights instead: it shows that the commands run, and no quality of results.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.ease.counting import HERE, TITLES, effort, typed
from benchmarks.field.environments import QUIET, Competitor, UnavailableError, environment_of
from benchmarks.record import save

WORK = Path("runs/benchmarks/ease")
PAIRS = 96


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a package's commands are tried.

    Attributes:
        packages: to install; none: this environment.
        imports: what has to be importable.
        result: the file that the commands end with.
        changes: what is replaced in the files, and with what.
        does_not: what of the job the package leaves out.
    """

    imports: tuple[str, ...]
    result: str
    packages: tuple[str, ...] = ()
    changes: dict[str, str] = field(default_factory=dict)
    does_not: str = ""


TRIALS = {
    "crossdistill": Trial(
        imports=("crossdistill",), result="sketches.parquet", changes={"run mine.yaml": "run mine.yaml train.epochs=1"}
    ),
    "lightly_train": Trial(
        packages=("lightly-train==0.18.0",), imports=("lightly_train",), result="sketches.csv",
        changes={"model=torchvision/resnet18": "model=torchvision/resnet18 epochs=1 batch_size=32"},
        does_not="pairs: teacher and student see the same picture, so it distils from sketches to sketches; "
        "retrieval; results",
    ),
    "torchdistill": Trial(
        packages=("torchdistill==1.1.5",), imports=("torchdistill",), result="sketches.pt",
        changes={"num_epochs: 40": "num_epochs: 1"},
        does_not="pairs of two inputs, embedding, retrieval and results without code; "
        "a contrastive objective across modalities",
    ),
    "open_clip": Trial(
        packages=("open_clip_torch==3.3.0",), imports=("open_clip", "timm"), result="sketches.pt",
        changes={"range(40)": "range(1)", '"laion2b_s34b_b79k"': '"stand-in.pt"'},
        does_not="training on pairs of two kinds of pictures (its own command wants a caption with each), embedding, "
        "retrieval and results without code",
    ),
}  # fmt: skip


def make_pairs(folder: Path) -> None:
    """Writes pairs.csv, photos/ and sketches/ from the built-in emoji."""
    from crossdistill.pairs import open_pairs

    rows = ["source,target"]
    for number, pair in enumerate(list(open_pairs("emoji"))[:PAIRS]):
        rows.append(f"photos/{number:04}.png,sketches/{number:04}.png")
        for side in ("source", "target"):
            place = folder / rows[-1].split(",")[side == "target"]
            place.parent.mkdir(parents=True, exist_ok=True)
            item = getattr(pair, side)
            place.write_bytes(item.read_bytes())
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def tried(name: str, threads: int) -> dict[str, Any]:
    """Runs a package's commands; how long each took, or what went wrong."""
    trial = TRIALS[name]
    peer = Competitor(name=name, script="", imports=("torch", *trial.imports), packages=trial.packages)
    try:
        python = environment_of(peer, WORK / "environments", _plain("torch"), _plain("torchvision"))
    except UnavailableError as error:
        return {"ran": False, "problem": str(error)}
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make_pairs(folder)
    environment = {
        **os.environ, **QUIET, "OMP_NUM_THREADS": str(threads), "TORCH_HOME": str((folder / "torch").resolve()),
        "LIGHTLY_TRAIN_MODEL_CACHE_DIR": str((folder / "models").resolve()),
        "PATH": f"{python.absolute().parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    for file, text in typed(name).items():
        for old, new in trial.changes.items():
            text = text.replace(old, new)
        (folder / file).write_text(text, encoding="utf-8")
    steps: list[dict[str, Any]] = []
    commands = (folder / "commands.sh").read_text(encoding="utf-8").splitlines()
    if (HERE / name / "stand_in.py").exists():
        shutil.copy(HERE / name / "stand_in.py", folder)
        commands.insert(1, "python stand_in.py")
    for command in commands[1:]:  # the first is pip's
        began = time.perf_counter()
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        steps.append(
            {"command": command, "seconds": round(time.perf_counter() - began, 1), "exit_code": done.returncode}
        )
        print(f"{name}: {steps[-1]['seconds']:6.1f} s  {command}", file=sys.stderr, flush=True)
        if done.returncode != 0:
            return {"ran": False, "steps": steps, "problem": (done.stdout + done.stderr)[-2000:]}
    result = folder / trial.result
    return {"ran": result.is_file(), "steps": steps, "result": trial.result, "bytes": result.stat().st_size}


def _plain(package: str) -> str:
    return version(package).partition("+")[0]


def table() -> str:
    """The table of docs/ease.md."""
    rows = [
        "| | commands | settings in them | lines of configuration | lines of own code | what it does not do of it |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in TITLES.items():
        counted = effort(name)
        bold = f"**{title}**" if name == "crossdistill" else title
        numbers = f"{counted.commands} | {counted.settings} | {counted.configuration} | {counted.code}"
        rows.append(f"| {bold} | {numbers} | {TRIALS[name].does_not} |")
    return "\n".join(rows)


def main() -> None:
    """Counts, and tries if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="try the commands, too")
    parser.add_argument("--only", nargs="*", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    print(table())
    if not arguments.run:
        return
    found = {}
    for name in arguments.only:
        packages = list(TRIALS[name].packages) or [f"crossdistill=={version('crossdistill')}"]
        outcome = tried(name, arguments.threads)
        found[name] = {"packages": packages, **asdict(effort(name)), "changes": TRIALS[name].changes, **outcome}
        print(f"{name}: {'runs' if outcome['ran'] else 'DOES NOT RUN: ' + outcome['problem']}")
    if set(arguments.only) == set(TITLES):
        print(f"raw results: {save('ease', {'pairs': PAIRS, 'packages': found})}")


if __name__ == "__main__":
    main()
