"""Writes demo.json: the loss of each epoch of the demo's distillations. See test_slow.py."""

import json
import tempfile
from pathlib import Path

from crossdistill.pipeline import demo_config, run_stage_two
from crossdistill.training import read_epochs

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = run_stage_two(demo_config(), [f"out={folder}/demo", "trackers=[]"])
        losses = {stage: [round(line["loss"], 6) for line in lines] for stage, lines in read_epochs(made.log).items()}
    Path(__file__).with_name("demo.json").write_text(json.dumps(losses, indent=1) + "\n")
