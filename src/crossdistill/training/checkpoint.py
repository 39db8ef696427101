"""Checkpoints of a training in progress: written atomically, checked by a checksum, read without unpickling code."""

from __future__ import annotations

import hashlib
import io
import pickle
import random
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from crossdistill import ranks
from crossdistill.console import warn
from crossdistill.errors import RunFolderError
from crossdistill.files import require_space, sha256_file, write_bytes, write_text


class Stateful(Protocol):
    """Anything with a state of tensors and plain values."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Goes on from it."""


class Checkpoints:
    """The newest few states of one training, ``step-NUMBER.pt`` with its checksum beside it.

    A state counts when its checksum is there, which is written last. The older ones are removed after that, so that a
    whole one is there at any time. Only the first rank writes.

    Args:
        folder: of this training alone.
        keep: how many states are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after ``step`` steps.

        Raises:
            StorageError: there is no room, or the folder cannot be written; the earlier states are still there.
        """
        if not ranks.is_first():
            return
        stream = io.BytesIO()
        torch.save(state, stream)
        content = stream.getbuffer()
        for unfinished in self.folder.glob(".step-*.part"):
            unfinished.unlink(missing_ok=True)  # what a killed process was writing would take up room for ever
        require_space(self.folder, len(content), "a checkpoint")
        path = self.folder / f"step-{step:010d}.pt"
        path.with_suffix(".sha256").unlink(missing_ok=True)
        write_bytes(path, content, durable=True)
        write_text(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest() + "\n")
        complete = self._complete()
        earlier, later = [each for each in complete if each < path], [each for each in complete if each > path]
        # Later ones are damaged, and this training went on without them.
        for old in [*earlier[: max(0, len(earlier) - self.keep + 1)], *later]:
            old.with_suffix(".sha256").unlink(missing_ok=True)
            old.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole; None where there is none at all. All ranks take the one that the first finds.

        Raises:
            RunFolderError: there are states, and all of them are damaged; or a rank does not see what the first sees.
        """
        damaged: list[str] = []
        found: dict[str, Any] | None = None
        step = -1  # there is none
        if ranks.is_first():
            for path in reversed(self._complete()):
                read = _read(path)
                if not isinstance(read, str):
                    found, step = read, int(path.stem.removeprefix("step-"))
                    break
                damaged.append(f"the checkpoint {path} is damaged ({read})")
            if found is not None and damaged:
                warn(f"{'; '.join(damaged)}; going on from {path.name}, the last good one")
        step = ranks.as_the_first(-2 if damaged and found is None else step)
        if step == -2:
            raise RunFolderError(
                "No checkpoint of this training can be used.", where=self.folder,
                received="; ".join(damaged) or "the first process finds all of them damaged",
                fix="move this folder away to train this stage again from its beginning",
            )  # fmt: skip
        if step >= 0 and found is None:
            path = self.folder / f"step-{step:010d}.pt"
            read = _read(path)
            if isinstance(read, str):
                raise RunFolderError(
                    "This process does not see the checkpoint that the first process goes on from.", where=path,
                    received=read, fix="the run folder has to be on a file system that all of them share; run the "
                    "same command again",
                )  # fmt: skip
            return read
        return found

    def _complete(self) -> list[Path]:
        """States with a checksum, the oldest first."""
        found = self.folder.glob("step-*.pt") if self.folder.is_dir() else ()
        return sorted(path for path in found if path.with_suffix(".sha256").is_file())


def _read(path: Path) -> dict[str, Any] | str:
    """A state, or what is wrong with it."""
    try:
        expected = path.with_suffix(".sha256").read_text(encoding="utf-8", errors="replace").strip()
        received = sha256_file(path)
        if expected != received:
            return f"checksum {received[:12]} instead of {expected[:12] or 'none'}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about files that it refuses anyway
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return content


def random_state() -> dict[str, Any]:
    """The state of every generator, for modules that draw outside of what :func:`seed_step` seeds."""
    version, numbers, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
        "numpy": [numpy["state"]["key"].tolist(), numpy["state"]["pos"], numpy["has_gauss"], numpy["gauss"]],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Sets every generator to a state of :func:`random_state`; those of GPUs that are not here are left out."""
    torch.set_rng_state(state["torch"])
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    key, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", np.array(key, dtype=np.uint32), position, has_gauss, gauss))
    for device, each in enumerate(state.get("cuda", [])[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(each, device)
