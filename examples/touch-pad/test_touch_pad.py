"""Everything that crossdistill relies on in a modality: reading, refusing, augmenting, normalising, drawing."""

from __future__ import annotations

from touch_pad import TouchPad

from crossdistill.modalities import check_modality


def test_touch_pad_keeps_the_contract() -> None:
    """Raises an AssertionError that says what does not hold."""
    check_modality(TouchPad, suffix=".npy")
