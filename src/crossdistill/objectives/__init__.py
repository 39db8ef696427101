"""Objectives: one short file each, usable alone on two ``(B, d)`` tensors. They never see an encoder or a file name."""

from crossdistill.objectives.cmc import CMC
from crossdistill.objectives.cmcd import CMCD
from crossdistill.objectives.cmd import CMD
from crossdistill.objectives.cosine import Cosine
from crossdistill.objectives.info_nce import InfoNCE
from crossdistill.objectives.l2 import L2
from crossdistill.objectives.registry import ObjectiveConfig, known_objectives

__all__ = ["CMC", "CMCD", "CMD", "L2", "Cosine", "InfoNCE", "ObjectiveConfig", "known_objectives"]
