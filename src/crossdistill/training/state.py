"""Everything about a training in progress that changes from step to step, and that a checkpoint holds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from crossdistill import ranks
from crossdistill.errors import RunFolderError
from crossdistill.training.average import WeightAverage
from crossdistill.training.checkpoint import Checkpoints, random_state, set_random_state
from crossdistill.training.config import TrainConfig
from crossdistill.training.guards import FiniteGuard, NormStatistics, is_memory_error
from crossdistill.training.optimiser import Freezer, build_optimiser, learning_rate
from crossdistill.training.precision import gradient_scaler
from crossdistill.training.sharding import Sharding, divided_as, whole

if TYPE_CHECKING:
    from crossdistill.training.loop import Task

SCORE = "val_mrr"
"""What early stopping and the best weights of a distillation go by: held-out retrieval, which needs no label."""


class TrainState:
    """Network, optimiser, loss scale, average, guards, best weights, and how far it all is.

    Order, augmentation and schedule follow from the step (batches.py, optimiser.py).

    Attributes:
        step: number of steps done, skipped ones included.
        rate: learning rate of the last one.
        scaler: of the loss.
        ended: whether early stopping has ended the training.
    """

    def __init__(self, task: Task, config: TrainConfig, device: torch.device, sharding: Sharding | None = None) -> None:
        self._task, self._config, self._sharding = task, config, sharding
        self._freezer = Freezer(task.model, config)
        self._optimiser = build_optimiser(task.model, config, fused=device.type in ("cuda", "cpu"), scales=task.scales)
        self._average = WeightAverage(task.result, config.ema) if config.ema is not None else None
        self._guard = FiniteGuard(config, task.title)
        self._norms = NormStatistics(task.model)
        trained = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
        # What is spread over ranks is not put together with what is not.
        kinds = [[each for each in trained if isinstance(each, DTensor) is spread] for spread in (False, True)]
        self._trained = [kind for kind in kinds if kind]
        self.scaler = gradient_scaler(config.precision, device)
        self.step, self.rate, self.ended = 0, 0.0, False
        self._losses: list[float] = []
        self._best: dict[str, Tensor] | None = None
        self._best_score, self._since_best = -math.inf, 0

    def begin_epoch(self, per_epoch: int) -> int:
        """Puts the network into training mode; the number of the epoch, from 0."""
        epoch = self.step // per_epoch
        self._per_epoch = per_epoch
        self._task.model.train()
        self._freezer.apply(epoch)
        return epoch

    def before_step(self) -> None:
        """No gradients are left from the last one."""
        self._optimiser.zero_grad(set_to_none=True)
        self._norms.keep()

    def step_optimiser(self, loss: float, total: int) -> dict[str, Any] | None:
        """Takes the step, or skips it when loss or gradient are not finite: the answer is then a line for the log.

        Raises:
            TrainingError: too many in a row.
        """
        self.rate = learning_rate(self.step, total, self._config) * self._guard.factor
        for group in self._optimiser.param_groups:
            group["lr"] = self.rate * group["lr_scale"]
        self.scaler.unscale_(self._optimiser)
        self._freezer.drop_gradients(self.step // self._per_epoch)
        norms = [
            whole(get_total_norm([parameter.grad for parameter in kind if parameter.grad is not None]))
            for kind in self._trained
        ]
        norm = norms[0] if len(norms) == 1 else get_total_norm(norms)
        problem = "loss" if not math.isfinite(loss) else "gradient" if not math.isfinite(float(norm)) else None
        line = None
        if problem is not None:
            line = self._guard.bad(problem, self.step, total, self.rate)
            self._norms.restore()
        else:
            self._guard.good()
            if self._config.clip_norm is not None:
                for kind in self._trained:
                    clip_grads_with_norm_(kind, self._config.clip_norm, norm)
            self.scaler.step(self._optimiser)
            self._losses.append(loss)
        self.scaler.update()
        self.step += 1
        if self._average is not None and problem is None:
            self._average.update()
        return line

    def mean_loss(self) -> dict[str, float]:
        """Of the epoch's steps that were taken, where there are any; and how many were skipped so far, if any."""
        mean = {"loss": sum(self._losses) / len(self._losses)} if self._losses else {}
        return mean | ({"skipped": self._guard.skipped} if self._guard.skipped else {})

    def measure(self, monitor: Callable[[], dict[str, float]] | None) -> dict[str, float]:
        """What the monitor says of the weights that would be the result now; keeps the best."""
        if monitor is None:
            return {}
        self._task.model.eval()
        with self._average.in_place() if self._average is not None else nullcontext():
            measured = monitor()
            score = measured.get(self._task.score)
            if score is not None and score > self._best_score:
                self._best_score, self._since_best = score, 0
                if self._config.keep == "best":
                    self._best = copy.deepcopy(self._task.result.state_dict())
            elif score is not None:
                self._since_best += 1
        patience = self._config.early_stop
        ended = score is not None and patience is not None and self._since_best >= patience
        self.ended = bool(ranks.as_the_first(int(ended)))
        return measured

    def end_epoch(self) -> None:
        """After its line was written."""
        self._losses.clear()

    def finish(self) -> None:
        """Gives the result its final weights: the average's, or the best ones."""
        if self._sharding is not None:
            self._sharding.undo()
        elif self._best is not None:
            self._task.result.load_state_dict(self._best)
        elif self._average is not None and self.step:
            self._average.swap()

    def save(self, folder: Path | None) -> bool:
        """Writes a checkpoint; not without a folder, nor after a step that was skipped: it may be the first of many.

        Tensors are written whole and by the names of their parameters, so that any number of ranks can go on.

        Returns:
            Whether it was written.
        """
        if folder is None or not self._guard.well:
            return False
        model = _gathered(self._task.model.state_dict())
        optimiser = {
            name: _gathered(self._optimiser.state[parameter])
            for name, parameter in self._task.model.named_parameters()
            if parameter in self._optimiser.state
        }
        content: dict[str, Any] = {
            "step": self.step,
            "losses": list(self._losses),
            "model": model,
            "optimiser": optimiser,
            "scaler": self.scaler.state_dict(),
            "guard": self._guard.state_dict(),
            "best": [self._best_score, self._since_best, self._best, self.ended],
            "random": random_state(),
        }
        if self._average is not None:
            content["average"] = self._average.state_dict()
        Checkpoints(folder, self._config.keep_checkpoints).save(self.step, content)
        return True

    def restore(self, folder: Path | None) -> None:
        """Goes on from the newest checkpoint, where there is one.

        Raises:
            RunFolderError: all are damaged, or it belongs to another network.
        """
        content = Checkpoints(folder, self._config.keep_checkpoints).load() if folder is not None else None
        if content is None:
            return
        try:
            now = self._task.model.state_dict()
            saved: dict[str, Tensor] = content["model"]
            self._task.model.load_state_dict(
                {name: divided_as(now[name], value) if name in now else value for name, value in saved.items()}
            )
            self._load_optimiser(content["optimiser"])
            self.scaler.load_state_dict(content["scaler"])
            self._guard.load_state_dict(content["guard"])
            if self._average is not None:
                self._average.load_state_dict(content["average"])
            self._best_score, self._since_best, self._best, self.ended = content["best"]
            set_random_state(content["random"])
            self.step, self._losses = int(content["step"]), [float(loss) for loss in content["losses"]]
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            if is_memory_error(error):
                raise
            raise RunFolderError(
                "The checkpoint belongs to another training.", where=folder,
                received=str(error).splitlines()[0] if str(error) else type(error).__name__,
                fix="move this folder away to train this stage again from its beginning",
            ) from error  # fmt: skip

    def _load_optimiser(self, saved: dict[str, dict[str, Any]]) -> None:
        """Moments by the names of their parameters; hyper-parameters follow from configuration and step."""
        names = {parameter: name for name, parameter in self._task.model.named_parameters()}
        current = self._optimiser.state_dict()
        ordered = [parameter for group in self._optimiser.param_groups for parameter in group["params"]]
        if unknown := saved.keys() - {names[parameter] for parameter in ordered}:
            raise KeyError(f"there is no parameter {min(unknown)}")
        current["state"] = {
            number: {key: divided_as(parameter, value) for key, value in saved[names[parameter]].items()}
            for number, parameter in enumerate(ordered)
            if names[parameter] in saved
        }
        self._optimiser.load_state_dict(current)


def _gathered(state: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of a state as wholes; where they are spread over ranks, the first alone keeps them, on its CPU."""
    found: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, DTensor):
            all_of_it = whole(value)
            found[name] = all_of_it.cpu() if ranks.is_first() else None
        else:
            found[name] = value
    return found
