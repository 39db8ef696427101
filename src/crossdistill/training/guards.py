"""What is done about steps that go wrong: numbers that are not finite, lack of memory, embeddings that collapse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from crossdistill import ranks
from crossdistill.console import warn
from crossdistill.errors import TrainingError
from crossdistill.training.config import TrainConfig

_BACK_OFF_AFTER = 3  # bad steps in a row
_FORGIVE_AFTER = 100  # good steps in a row
_SCALER_SKIPS = 16  # in fp16 the loss scale begins too high on purpose, and is halved until it fits


class FiniteGuard:
    """Skips steps without a finite loss and gradient, lowers the learning rate when they pile up, ends when they stay.

    Attributes:
        skipped: steps skipped so far.
        factor: of the learning rate; halved after each three bad steps in a row, doubled (up to 1) after 100 good ones.
    """

    def __init__(self, config: TrainConfig, title: str) -> None:
        self._title = title
        self._limit = config.nonfinite_limit + (_SCALER_SKIPS if config.precision == "fp16" else 0)
        self._scales = config.precision == "fp16"
        self.skipped, self.factor = 0, 1.0
        self._bad, self._good = 0, 0

    def bad(self, what: str, step: int, total: int, rate: float) -> dict[str, Any]:
        """A step that cannot be taken; the answer is a line for the log.

        Raises:
            TrainingError: it is one too many.
        """
        self.skipped, self._bad, self._good = self.skipped + 1, self._bad + 1, 0
        where = f"{self._title}, step {step + 1} of {total}"
        if self._bad >= min(self._limit, total):
            raise TrainingError(
                f"The {what} is not finite, {self._bad} steps in a row.", where=where,
                received=f"learning rate {rate:.2e}, {self.skipped} steps skipped in all",
                fix="lower train.lr, raise the objective's temperature, set train.clip_norm: 1.0, or use "
                "train.precision: float32",
            )  # fmt: skip
        if self._bad % _BACK_OFF_AFTER == 0 and not self._scales:
            self.factor /= 2
        if not self._scales:
            warn(f"the {what} is not finite at {where}: the step is skipped, learning rate times {self.factor:g}")
        return {"what": what, "skipped": self.skipped, "lr_factor": self.factor}

    @property
    def well(self) -> bool:
        """Whether the last step was taken, or skipped for no more than a loss scale that was too high."""
        return self._bad == 0 or (self._scales and self._bad < _SCALER_SKIPS)

    def good(self) -> None:
        """A step that was taken."""
        self._bad, self._good = 0, self._good + 1
        if self._good % _FORGIVE_AFTER == 0:
            self.factor = min(1.0, 2 * self.factor)

    def state_dict(self) -> dict[str, Any]:
        """Counts."""
        return {"skipped": self.skipped, "factor": self.factor, "bad": self._bad, "good": self._good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on counting."""
        self.skipped, self.factor = int(state["skipped"]), float(state["factor"])
        self._bad, self._good = int(state["bad"]), int(state["good"])


class NormStatistics:
    """The running statistics of batch normalisation before a step: one bad batch would spoil them for good."""

    def __init__(self, model: nn.Module) -> None:
        layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
        self._buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
        self._kept = [buffer.clone() for buffer in self._buffers]

    def keep(self) -> None:
        """Before a step."""
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)

    def restore(self) -> None:
        """After a bad one."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)


_LACKING = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "could not create a primitive")


def is_memory_error(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of a GPU, in the words of torch, CUDA and oneDNN."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _LACKING)


@contextmanager
def memory_errors(config: TrainConfig, title: str, section: str, rows: int | None) -> Iterator[None]:
    """Turns exhausted memory into a message that names the setting which would help.

    Args:
        config: settings of the training.
        title: of the training.
        section: of the configuration that they stand in, such as ``train``.
        rows: items that this rank embeds in a step, where gradient caching can divide them.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_memory_error(error):
            raise
        helps = []
        spread = config.parallel == "fsdp" and ranks.world() > 1
        at_once = 1 if rows is None or spread else min(config.embed_at_once or rows, rows)
        if at_once > 1:
            helps.append(f"{section}.embed_at_once: {at_once // 2} (the same gradients with fewer activations in "
                         f"memory; with batch normalisation also {section}.batch_norm: per_part)")  # fmt: skip
        if config.precision == "float32" and section in ("train", "pretrain"):
            helps.append(f"{section}.precision: bf16")
        helps.append(f"{section}.batch_size: {max(2, config.batch_size // 2)}")
        text = str(error)
        raise TrainingError(
            "The memory does not suffice for a step.", where=title,
            received=text.splitlines()[0] if text else type(error).__name__, fix=f"set {', or '.join(helps)}",
        ) from error  # fmt: skip


def effective_rank(rows: Tensor) -> float:
    """How many dimensions rows ``(n, d)`` fill: the exponential of the entropy of their singular values' shares.

    Source: Roy and Vetterli, EUSIPCO 2007; as RankMe, arXiv 2210.02885. Between 1 and min(n, d).
    """
    unit = F.normalize(rows.detach().double(), dim=1)
    # Singular values by the smaller of the two Gram matrices: in float64 as exact, and a fraction of the time.
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


def uniformity(rows: Tensor) -> float:
    """``log mean exp(-2 |x_i - x_j|^2)`` over pairs of unit rows: 0 when all are one point, lower when spread out.

    Source: Wang and Isola, arXiv 2005.10242.
    """
    unit = F.normalize(rows.detach().float(), dim=1)
    return float(torch.pdist(unit).square().mul(-2).exp().mean().clamp(min=1e-12).log())


class CollapseGuard:
    """Warns when the student's embeddings fill far fewer dimensions than the teacher's of the same items."""

    _SHARE = 0.1  # of the teacher's effective rank
    _EPOCHS = 2  # in a row

    def __init__(self, title: str) -> None:
        self._title = title
        self._low = 0
        self._batch: tuple[Tensor, Tensor] | None = None

    def see(self, student: Tensor, teacher: Tensor) -> None:
        """The embeddings ``(B, d)`` of a step."""
        self._batch = student.detach(), teacher.detach()

    def measure(self) -> dict[str, float]:
        """Effective rank of both sides, and the student's uniformity, in the last step; warns when it is time to."""
        if self._batch is None or len(self._batch[0]) < 4:
            return {}
        student, teacher = self._batch
        if not bool(torch.isfinite(student).all()):  # a bad step, of which the other guard tells
            return {}
        mine, theirs = effective_rank(student), effective_rank(teacher)
        spread = uniformity(student)
        self._low = self._low + 1 if mine < max(1.5, self._SHARE * theirs) < theirs else 0
        if self._low == self._EPOCHS:
            warn(
                f"{self._title}: the student's embeddings are collapsing (effective rank {mine:.1f}, the teacher's is "
                f"{theirs:.1f}; uniformity {spread:.2f}): lower train.lr, or take a contrastive objective such as cmcd"
            )
        return {
            "effective_rank": round(mine, 3), "teacher_effective_rank": round(theirs, 3), "uniformity": round(spread, 4)
        }  # fmt: skip
