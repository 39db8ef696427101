"""The training loop: one function, used by pretraining, distillation and supervised training alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from crossdistill import ranks
from crossdistill.console import track
from crossdistill.draws import share_of_batch
from crossdistill.errors import ConfigError, StoppedError
from crossdistill.pairs.items import Items
from crossdistill.training.batches import Batch, Beside, StepSampler, load_batches, seed_batch
from crossdistill.training.clock import StepClock, phase, running
from crossdistill.training.config import TrainConfig
from crossdistill.training.guards import memory_errors
from crossdistill.training.interruption import stop_requests
from crossdistill.training.log import TrainLog
from crossdistill.training.parallel import Loss, ParallelStep, check_gradients, share_norms
from crossdistill.training.resolution import check_resolutions, resized
from crossdistill.training.sharding import Sharding, check_sharding
from crossdistill.training.state import SCORE, TrainState

Prepare = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Item numbers ``(B,)`` and the decoded items ``(B, *shape)`` to what the loss takes: first of all the augmented and
normalised items. Draws random numbers through :mod:`crossdistill.draws`; no gradient goes through it."""

Monitor = Callable[[], dict[str, float]]
"""Measures something at the end of an epoch."""


@dataclass(frozen=True)
class Task:
    """What is trained, and by what.

    Attributes:
        title: for the progress bar and for messages.
        model: all whose parameters are trained and whose state is saved.
        result: the part of it that is wanted in the end; averaged, compiled and kept at its best where that is set.
        prepare: everything before the network.
        loss: the network and the objective: the loss of one batch, of all ranks' rows together or their mean.
        section: of the configuration that its settings stand in, for messages.
        views: how often each item of a batch is embedded, where gradient caching can divide the batch; else 0.
        score: what the monitor measures that early stopping and the best weights go by; higher is better.
        steps: where to end, if not with the last epoch.
        beside: items, at the end of those that are trained on, some of which go along with each batch. ``prepare`` then
            draws for either kind in a :func:`~crossdistill.draws.share_of_batch` of its own.
        scales: factors of the learning rate of parameters, by how their names in ``model`` begin.
        after_step: called after each step that was taken.
    """

    title: str
    model: nn.Module
    result: nn.Module
    prepare: Prepare
    loss: Loss
    section: str = "train"
    views: int = 0
    score: str = SCORE
    steps: int | None = None
    beside: Beside | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    after_step: Callable[[], None] | None = None


def choose_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` takes an accelerator where there is one, each rank its own.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda:") and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "All processes of this machine would be on one GPU.", where="train.device", received=name,
            expected="cuda or auto: each process then takes a GPU of its own",
        )  # fmt: skip
    if name == "cuda" and ranks.launched() and torch.cuda.is_available():
        name = ranks.own_gpu()
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError("This device cannot be used.", where="train.device", expected="auto, cpu, or a device that "
                          "torch finds here", received=f"{name}: {reason}") from error  # fmt: skip
    return device


def _layout(model: nn.Module, config: TrainConfig, *, spread: bool) -> torch.memory_format:
    """How the weights lie in memory. Those that are spread over ranks are divided as they lie."""
    volumes = any(parameter.ndim == 5 for parameter in model.parameters())  # of 3-D convolutions, which have another
    return torch.channels_last if config.channels_last and not spread and not volumes else torch.contiguous_format


def fit(
    task: Task,
    items: Items,
    config: TrainConfig,
    *,
    log: TrainLog | None = None,
    checkpoint: Path | None = None,
    monitor: Monitor | None = None,
    health: Monitor | None = None,
) -> None:
    """Trains ``task.model`` in place; goes on from ``checkpoint`` where there is one.

    Args:
        task: what is trained.
        items: what is trained on.
        config: settings; the whole course of the training follows from them and the data.
        log: where epochs and some steps are written.
        checkpoint: folder for states after each epoch and when interrupted; None keeps no state.
        monitor: called in eval mode at the end of every ``config.monitor_every`` epochs and of the last one. What it
            calls ``task.score`` (``val_mrr``) decides on early stopping and on the best weights.
        health: called at the end of each epoch; cheap.

    Raises:
        TrainingError: losses or gradients stay not finite, or the memory does not suffice.
        StoppedError: SIGINT or SIGTERM came; the state is in ``checkpoint``.
    """
    device = choose_device(config.device)
    count = len(items) - (task.beside.count if task.beside is not None else 0)
    rows = min(config.batch_size, count)
    if ranks.world() > rows:
        raise ConfigError("There are more processes than items in a batch.", where=f"{task.section}.batch_size",
                          expected=f"{ranks.world()} items or more", received=rows)  # fmt: skip
    if monitor is None and (config.early_stop is not None or config.keep == "best"):
        raise ConfigError(
            "Early stopping and keeping the best weights need held-out pairs.",
            where=f"{task.section}.{'early_stop' if config.early_stop is not None else 'keep'}",
            received="nothing to measure on", fix="give the pairs a val split, or leave it out",
        )  # fmt: skip
    spread = config.parallel == "fsdp" and ranks.world() > 1
    step_memory = partial(
        memory_errors, config, task.title, task.section, task.views * -(-rows // ranks.world()) if task.views else None
    )
    with step_memory():
        if spread:
            check_sharding(task.result, config)
        check_resolutions(task.result, items, config)
        share_norms(task.model, device)
        sharding = Sharding(task.model, task.result, device) if spread else None
        task.model.to(device).to(memory_format=_layout(task.model, config, spread=spread))
        state = TrainState(task, config, device, sharding)
        step_loss = ParallelStep(task.model, task.loss, device, sharding)
        state.restore(checkpoint)
    if config.compile:
        getattr(task.result, "backbone", task.result).compile()
    if log is not None:
        log.begin(state.step)
    sampler = StepSampler(
        count, config.batch_size, config.epochs, config.seed, first_step=state.step, accumulate=config.accumulate,
        steps=task.steps, beside=task.beside,
    )  # fmt: skip
    per_epoch, total = sampler.steps_per_epoch, sampler.total_steps
    clock = StepClock(device) if config.profile else None
    checked = ranks.world() == 1 or spread  # that all parameters get a gradient, which DDP needs

    def backward(batches: list[Batch], step: int) -> float:
        """Gradients of one step, and its loss."""
        value = 0.0
        for number, (numbers, decoded) in enumerate(batches):
            more = number + 1 < len(batches)
            batch = step * sampler.accumulate + number
            with phase("augmentation"), torch.no_grad():
                seed_batch(config.seed, batch)
                with share_of_batch(sampler.part.start, len(numbers), sampler.batch_size):
                    prepared = task.prepare(numbers.to(device), decoded.to(device))
                prepared = resized(prepared, config.size_at(step, total))
                if ranks.rank():
                    seed_batch(config.seed, batch, ranks.rank())
            with step_loss.batch(more):
                loss = step_loss(*prepared) / len(batches)
                with phase("backward"):
                    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # untyped in torch
            value += float(loss.detach())
        return value

    started = time.monotonic()
    epoch = state.begin_epoch(per_epoch)
    with stop_requests() as stop, running(clock), track(task.title, total, state.step) as bar:
        batches: list[Batch] = []
        for batch in load_batches(items, sampler, config.workers) if not state.ended else ():
            batches.append(batch)
            if len(batches) < sampler.accumulate:
                continue
            state.before_step()
            with step_memory():
                value = backward(batches, state.step)
            if not checked:
                check_gradients(task.model)
                checked = True
            batches = []
            with phase("waiting"):
                summed, stopping = ranks.add_up([value, float(stop.signal_name is not None)])
                value = summed / ranks.world()
            with phase("optimiser"), step_memory():
                skipped = state.step_optimiser(value, total)
            if skipped is None and task.after_step is not None:
                task.after_step()
            if clock is not None:
                clock.end_step()
            bar.advance(status=f"loss {value:.3f}")
            if log is not None and skipped is not None:
                log.add("skip", epoch + 1, state.step, skipped)
            elif log is not None and state.step % config.log_every == 0:
                log.add("step", epoch + 1, state.step, {"loss": value, "lr": state.rate})
            last = state.step == total
            if last or state.step % per_epoch == 0:
                measured = health() if health is not None else {}
                if last or (epoch + 1) % config.monitor_every == 0:
                    measured |= state.measure(monitor)
                if log is not None:
                    seconds = round(time.monotonic() - started, 3)
                    log.add("epoch", epoch + 1, state.step, {**state.mean_loss(), **measured, "seconds": seconds})
                state.end_epoch()
                state.save(checkpoint)
                epoch = state.begin_epoch(per_epoch)
            elif config.checkpoint_every is not None and state.step % config.checkpoint_every == 0:
                state.save(checkpoint)
            if stopping:
                saved = state.save(checkpoint)
                raise StoppedError(
                    f"Stopped by {stop.signal_name or 'a signal to another process'}.",
                    where=f"{task.title}, after step {state.step} of {total}",
                    fix="run the same command again: it goes on from "
                    + ("here" if saved else "the last checkpoint" if checkpoint is not None else "this stage's start"),
                )
            if state.ended:
                break
    state.finish()
    if clock is not None and log is not None:
        log.profile(clock.summary())
    task.model.eval()
