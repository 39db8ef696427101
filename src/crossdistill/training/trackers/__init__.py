"""Where curves go beside ``train.jsonl``: one file a service."""

from crossdistill.training.trackers.base import Tracker
from crossdistill.training.trackers.registry import TRACKERS, TrackerName, check_trackers, open_trackers

__all__ = ["TRACKERS", "Tracker", "TrackerName", "check_trackers", "open_trackers"]
