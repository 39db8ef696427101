"""The pipeline: a configuration, a run folder, and the stages that fill it."""

from crossdistill.pipeline.commands import evaluate, run, run_stage_one, run_stage_two
from crossdistill.pipeline.config import RunConfig, demo_config, load_config, make_config
from crossdistill.pipeline.folder import RunFolder, open_run
from crossdistill.pipeline.model import CrossModalModel, load

__all__ = [
    "CrossModalModel", "RunConfig", "RunFolder", "demo_config", "evaluate", "load", "load_config", "make_config",
    "open_run", "run", "run_stage_one", "run_stage_two",
]  # fmt: skip
