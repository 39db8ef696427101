"""An environment for each peer, made with pip where it is missing, and the check that the peer is alive in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Nothing is sent, nothing is fetched.
QUIET = {
    "LIGHTLY_TRAIN_EVENTS_DISABLED": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
}


@dataclass(frozen=True, kw_only=True)
class Competitor:
    """One who takes part.

    Attributes:
        name: as reported.
        script: in this folder.
        imports: what must be importable.
        packages: requirements beside torch and torchvision; none: it runs in this environment.
        live_teacher: whether its teacher runs in every step.
    """

    name: str
    script: str
    imports: tuple[str, ...]
    packages: tuple[str, ...] = field(default=())
    live_teacher: bool = True

    @property
    def path(self) -> Path:
        """The script."""
        return Path(__file__).parent / self.script


OURS = Competitor(name="crossdistill", script="ours.py", imports=("crossdistill",), live_teacher=False)
PLAIN = Competitor(name="plain loop", script="plain_loop.py", imports=("torch", "timm"))
PEERS = (
    Competitor(
        name="torchdistill", script="torchdistill_peer.py", imports=("torchdistill", "timm"),
        packages=("torchdistill==1.1.5", "timm", "pillow"),
    ),
    Competitor(
        name="lightly-train", script="lightly_train_peer.py", imports=("lightly_train", "timm"),
        packages=("lightly-train==0.18.0", "timm"),
    ),
)  # fmt: skip


class UnavailableError(Exception):
    """A peer cannot be installed or imported here; the message has the reason."""


def environment_of(competitor: Competitor, folder: Path, torch: str, torchvision: str) -> Path:
    """The Python of a competitor, ready to run its script; it imports everything once, so that files are in memory.

    Args:
        competitor: whose.
        folder: where environments are kept.
        torch: the version that all get.
        torchvision: likewise.

    Raises:
        UnavailableError: pip or an import fails.
    """
    python = Path(sys.executable)
    if competitor.packages:
        python = folder / competitor.name.replace("-", "_") / "bin" / "python"
        if not python.exists():
            print(f"making an environment for {competitor.name}", file=sys.stderr, flush=True)
            _run([sys.executable, "-m", "venv", str(python.parent.parent)], {})
        if _imports(competitor, python) is not None:
            pinned = [f"torch=={torch}", f"torchvision=={torchvision}"]
            _run([str(python), "-m", "pip", "install", "--quiet", *pinned, *competitor.packages], {})
    problem = _imports(competitor, python)
    if problem is not None:
        raise UnavailableError(problem)
    return python


def _imports(competitor: Competitor, python: Path) -> str | None:
    """What goes wrong with the imports, or None."""
    try:
        _run([str(python), "-W", "ignore", "-c", f"import {', '.join(competitor.imports)}"], QUIET)
    except UnavailableError as error:
        return str(error)
    return None


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise UnavailableError(lines[-1])
