"""MLflow; the server, or the folder, is the one that ``MLFLOW_TRACKING_URI`` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from crossdistill.training.trackers.base import Tracker


class MLflow(Tracker):
    """One MLflow run for a run folder; a resumed run goes on in it."""

    package = "mlflow"

    def __init__(self, client: Any, run: str) -> None:
        self._client, self._run = client, run

    @classmethod
    def open(cls, folder: Path, config: dict[str, Any]) -> Self:
        """See the base class."""
        from crossdistill.training.trackers.identity import run_identity

        client, identity = cls.require().MlflowClient(), run_identity(folder)
        experiment = client.get_experiment_by_name("crossdistill")
        number = experiment.experiment_id if experiment is not None else client.create_experiment("crossdistill")
        found = client.search_runs([number], f"tags.crossdistill = '{identity}'")
        if found:
            return cls(client, found[0].info.run_id)
        run = client.create_run(number, run_name=folder.name, tags={"crossdistill": identity})
        for key, value in _flat(config).items():
            client.log_param(run.info.run_id, key, str(value)[:500])
        return cls(client, run.info.run_id)

    def add(self, stage: str, step: int, values: dict[str, float]) -> None:
        """See the base class."""
        for name, value in values.items():
            # MLflow takes letters, digits, '_', '-', '.', ' ' and '/' in names.
            self._client.log_metric(self._run, f"{stage}/{name.replace('@', '_at_')}", value, step=step)

    def close(self) -> None:
        """See the base class."""
        self._client.set_terminated(self._run)


def _flat(config: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{path}.{key}" if path else key
        found |= _flat(value, name) if isinstance(value, dict) else {name: value}
    return found


TRACKER = MLflow
