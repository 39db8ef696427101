"""Objectives: one short file each, usable alone on two ``(B, d)`` tensors. They never see an encoder or a file name."""

from crossdistill.objectives.barlow_twins import BarlowTwins
from crossdistill.objectives.cmc import CMC
from crossdistill.objectives.cmcd import CMCD
from crossdistill.objectives.cmd import CMD
from crossdistill.objectives.coral import CORAL
from crossdistill.objectives.core import Objective, TeacherColumns
from crossdistill.objectives.cosine import Cosine
from crossdistill.objectives.crd import CRD
from crossdistill.objectives.feature_statistics import FeatureStatistics
from crossdistill.objectives.info_nce import InfoNCE
from crossdistill.objectives.kd import KD
from crossdistill.objectives.l2 import L2
from crossdistill.objectives.lit import LiT
from crossdistill.objectives.mmd import MMD
from crossdistill.objectives.pkt import PKT
from crossdistill.objectives.registry import ObjectiveConfig, known_objectives
from crossdistill.objectives.rkd import RKD
from crossdistill.objectives.robust_cmc import RobustCMC
from crossdistill.objectives.seed import SEED
from crossdistill.objectives.siglip import SigLIP
from crossdistill.objectives.sp import SP
from crossdistill.objectives.vicreg import VICReg
from crossdistill.objectives.weighted_sum import WeightedSum

__all__ = [
    "CMC",
    "CMCD",
    "CMD",
    "CORAL",
    "CRD",
    "KD",
    "L2",
    "MMD",
    "PKT",
    "RKD",
    "SEED",
    "SP",
    "BarlowTwins",
    "Cosine",
    "FeatureStatistics",
    "InfoNCE",
    "LiT",
    "Objective",
    "ObjectiveConfig",
    "RobustCMC",
    "SigLIP",
    "TeacherColumns",
    "VICReg",
    "WeightedSum",
    "known_objectives",
]
