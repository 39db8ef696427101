"""Element-wise steps of the tiles, fused into single kernels by ``torch.compile`` on a GPU."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])
_log = logging.getLogger(__name__)


def worth_compiling(tensor: torch.Tensor) -> bool:
    """On a CPU the tiles stay in the cache, where fusing brings nothing."""
    return tensor.device.type == "cuda"


def fused(function: _Function) -> _Function:
    """Compiles ``function``, whose first argument is a tensor, for a GPU; where compiling fails it runs as it is."""
    compiled: list[Callable[..., Any] | None] = []

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if not worth_compiling(arguments[0]):
            return function(*arguments)
        if not compiled:
            compiled.append(torch.compile(function, dynamic=True))
        if compiled[0] is None:
            return function(*arguments)
        try:
            return compiled[0](*arguments)
        except torch.OutOfMemoryError:
            raise
        except (
            Exception
        ) as error:  # no compiler, no Triton, an unsupported card: it compiles before it changes anything
            _log.debug("the tiles run without torch.compile: %s", error)
            compiled[0] = None
            return function(*arguments)

    return cast(_Function, call)
