"""What the pages of one's own modality show is known here, as where its package is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossdistill.modalities import register, registry

EXAMPLE = Path(__file__).parents[2] / "examples" / "touch-pad"


@pytest.fixture(scope="session", autouse=True)
def _touch_pad() -> Iterator[None]:
    sys.path.insert(0, str(EXAMPLE))
    from touch_pad import TouchPad

    register(TouchPad)
    yield
    registry._registered.pop("touch_pad")
    sys.path.remove(str(EXAMPLE))
