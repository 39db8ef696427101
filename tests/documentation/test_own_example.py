"""The example of a modality of one's own, and the page that shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.documentation.hooks import DOCS, EXAMPLE, install_touch_pad


def test_the_page_shows_the_files_of_the_example() -> None:
    text = (DOCS / "own-modality.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)\n```$', text, re.MULTILINE | re.DOTALL))
    assert set(shown) == {"touch_pad.py", "test_touch_pad.py", "pyproject.toml", "touch.yaml"}
    for name, content in shown.items():
        assert content == (EXAMPLE / name).read_text(encoding="utf-8").rstrip(), name


def test_its_own_test() -> None:
    from touch_pad import TouchPad

    from crossdistill.modalities import check_modality

    check_modality(TouchPad, suffix=".npy")
    check_modality(TouchPad, suffix=".npy", full_scale=2047, size=24)


def test_presses_say_something_of_the_outline() -> None:
    import numpy as np
    from PIL import Image, ImageDraw
    from press import pressed

    outline = Image.new("L", (72, 72), "white")
    ImageDraw.Draw(outline).rectangle((10, 10, 30, 30), outline="black", width=3)
    felt = pressed(outline, np.random.default_rng(0))
    assert felt.shape == (16, 16)
    assert (felt == -1).sum() >= 1
    assert felt[:8, :8].mean() > 5 * abs(felt[9:, 9:].mean())


def test_an_installed_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    """In a process of its own, with what pip writes beside a package."""
    install_touch_pad(tmp_path)
    asked = "from crossdistill.modalities import *; print(type(parse_modality({'modality': 'touch_pad'})).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", asked], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("TouchPad", "")
