"""What takes minutes: the demo's claim, and the examples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crossdistill.pipeline import demo_config, run

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def test_on_emoji_the_default_objective_is_ahead_of_l2_in_retrieval(tmp_path: Path) -> None:
    folder = run(demo_config(), [f"out={tmp_path / 'demo'}", "evaluate.controls=[]", "evaluate.protocols=[retrieval]"])
    comparisons = json.loads(folder.metrics.read_text())["comparisons"]
    change = next(line["difference"] for line in comparisons if line["metric"] == "target_to_source_r@1")
    assert change["low"] > 0


def test_stage_two_by_hand_learns() -> None:
    command = [sys.executable, str(ROOT / "examples" / "distil_by_hand.py"), "--epochs", "4"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    losses = [float(line.rsplit(" ", 1)[1]) for line in output.splitlines() if "loss" in line]
    assert losses[-1] < losses[0]
    assert "R@1" in output


def test_the_three_stages_example_runs(tmp_path: Path) -> None:
    short = ["pretrain.epochs=1", "train.epochs=1", f"out={tmp_path / 'run'}"]
    command = [sys.executable, "-m", "crossdistill", "run", str(ROOT / "examples" / "three_stages.yaml"), *short]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "report:" in output
