"""The training loop: one function, used by pretraining, distillation and supervised training alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from crossdistill.console import track
from crossdistill.errors import ConfigError, StoppedError, TrainingError
from crossdistill.pairs.items import Items
from crossdistill.training.batches import StepSampler, load_batches, seed_step
from crossdistill.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from crossdistill.training.config import TrainConfig
from crossdistill.training.interruption import stop_requests
from crossdistill.training.log import TrainLog
from crossdistill.training.optimiser import build_optimiser, learning_rate

StepLoss = Callable[[Tensor, Tensor], Tensor]
"""Item numbers ``(B,)`` and the decoded items ``(B, *shape)`` to a scalar loss. It augments them as it needs."""

Monitor = Callable[[], dict[str, float]]
"""Measures something on held-out data at the end of an epoch."""


def choose_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` takes an accelerator where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError("This device cannot be used.", where="train.device", expected="auto, cpu, or a device that "
                          "torch finds here", received=f"{name}: {reason}") from error  # fmt: skip
    return device


def fit(
    model: nn.Module,
    step_loss: StepLoss,
    items: Items,
    config: TrainConfig,
    *,
    title: str,
    log: TrainLog | None = None,
    checkpoint: Path | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Trains ``model`` in place; goes on from ``checkpoint`` where there is one.

    Args:
        model: whose parameters are trained; ``step_loss`` uses it.
        step_loss: the loss of one batch.
        items: what is trained on.
        config: settings; the whole course of the training follows from them and the data.
        title: for the progress bar and for messages.
        log: where epochs and some steps are written.
        checkpoint: file to write after each epoch and when interrupted; None keeps no state.
        monitor: called in eval mode at the end of every ``config.monitor_every`` epochs and of the last one.

    Raises:
        TrainingError: the loss is not finite.
        StoppedError: SIGINT or SIGTERM came; the state is in ``checkpoint``.
    """
    device = choose_device(config.device)
    model.to(device).to(memory_format=torch.channels_last)
    optimiser = build_optimiser(model, config)
    progress = load_checkpoint(checkpoint, model, optimiser) if checkpoint is not None else Progress()
    if log is not None:
        log.rewind(progress.step)
    sampler = StepSampler(len(items), config.batch_size, config.epochs, config.seed, first_step=progress.step)
    per_epoch, total = sampler.steps_per_epoch, sampler.total_steps

    started = time.monotonic()
    model.train()
    with stop_requests() as stop, track(title, total, progress.step) as task:
        for numbers, decoded in load_batches(items, sampler, config.workers):
            epoch, rate = progress.step // per_epoch, learning_rate(progress.step, total, config)
            for group in optimiser.param_groups:
                group["lr"] = rate
            seed_step(config.seed, progress.step)
            loss = step_loss(numbers.to(device), decoded.to(device))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    "The loss is not finite.",
                    where=f"{title}, epoch {epoch + 1}, step {progress.step + 1} of {total}",
                    received=f"loss {value} at learning rate {rate:.2e}",
                    fix="lower train.lr, raise the objective's temperature, or set train.clip_norm: 1.0",
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimiser.step()

            progress.step += 1
            progress.losses.append(value)
            task.advance(status=f"loss {value:.3f}")
            if log is not None and progress.step % config.log_every == 0:
                log.add("step", epoch + 1, progress.step, {"loss": value, "lr": rate})
            if progress.step % per_epoch == 0:
                last = progress.step == total
                measured = _measure(model, monitor) if last or (epoch + 1) % config.monitor_every == 0 else {}
                if log is not None:
                    mean = sum(progress.losses) / len(progress.losses)
                    seconds = round(time.monotonic() - started, 3)
                    log.add("epoch", epoch + 1, progress.step, {"loss": mean, **measured, "seconds": seconds})
                progress.losses.clear()
                if checkpoint is not None:
                    save_checkpoint(checkpoint, progress, model, optimiser)
            if stop.signal_name is not None:
                if checkpoint is not None:
                    save_checkpoint(checkpoint, progress, model, optimiser)
                raise StoppedError(
                    f"Stopped by {stop.signal_name}.",
                    where=f"{title}, after step {progress.step} of {total}",
                    fix="run the same command again: it goes on from here",
                )
    model.eval()


def _measure(model: nn.Module, monitor: Monitor | None) -> dict[str, float]:
    if monitor is None:
        return {}
    model.eval()
    measured = monitor()
    model.train()
    return measured
