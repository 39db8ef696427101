"""How far apart two modalities are, measured from samples: each distance with its interval and its known failure."""

from crossdistill.distance.alignment import kernel_alignment
from crossdistill.distance.canonical import canonical_correlation
from crossdistill.distance.geometry import alignment, cone, effective_rank, modality_gap, uniformity
from crossdistill.distance.mean_discrepancy import mean_discrepancy
from crossdistill.distance.measured import Measured
from crossdistill.distance.neighbours import chance_level, mutual_neighbours
from crossdistill.distance.prediction import CrossFit, cross_fit, out_of_fold, retrieval, ridge_r2
from crossdistill.distance.survey import paired_distances, shared_distances
from crossdistill.distance.total_variation import proxy_a_distance, total_variation
from crossdistill.distance.transport import sinkhorn_divergence, sliced_wasserstein

__all__ = [
    "CrossFit", "Measured", "alignment", "canonical_correlation", "chance_level", "cone", "cross_fit", "effective_rank",
    "kernel_alignment", "mean_discrepancy", "modality_gap", "mutual_neighbours", "out_of_fold", "paired_distances",
    "proxy_a_distance", "retrieval", "ridge_r2", "shared_distances", "sinkhorn_divergence", "sliced_wasserstein",
    "total_variation", "uniformity",
]  # fmt: skip
