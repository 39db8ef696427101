"""What the distance between two modalities' similarity distributions says about the target task; see docs/theory.md."""

from crossdistill.theory.calibration import best_temperature
from crossdistill.theory.certificates import (
    CROSSING,
    bretagnolle_huber,
    cmc_certificate,
    kl_certificate,
    l2_certificate,
    logit_shift,
    mutual_information_bound,
    partner_triangle,
    pinsker,
    retrieval_error_bound,
    softmax_kl,
    softmax_tv,
)
from crossdistill.theory.chain import held_out_chain, held_out_kl_chain, training_chain, tv_limit
from crossdistill.theory.deviation import group_means, hoeffding, log_class_size
from crossdistill.theory.distributions import Form, Similarities, compare_similarities
from crossdistill.theory.finite import entropy, kl_divergence, softmax, total_variation
from crossdistill.theory.measure import measure_theory, theory_curve_point
from crossdistill.theory.probe_bound import HeldOutBound, ProbeBound, held_out_certificate, rademacher_certificate
from crossdistill.theory.rademacher import linear_rademacher, ramp_rademacher, simulated_rademacher
from crossdistill.theory.results import FormTerms, PartnerTerms, Spread, TheoryTerms
from crossdistill.theory.terms import Chain, Term
from crossdistill.theory.transfer import (
    coupling_shift,
    expected_loss,
    margin_lipschitz,
    margin_shift,
    margins,
    ramp,
    transferred_error,
    vote_error_bound,
    vote_error_certificate,
    vote_margin,
)
from crossdistill.theory.vectors import PairedVectors
from crossdistill.theory.zero_shot_chain import best_gamma, probe_chain, zero_shot_chain

__all__ = [
    "CROSSING", "Chain", "Form", "FormTerms", "HeldOutBound", "PairedVectors", "PartnerTerms", "ProbeBound",
    "Similarities", "Spread", "Term", "TheoryTerms", "best_gamma", "best_temperature", "bretagnolle_huber",
    "cmc_certificate", "compare_similarities", "coupling_shift", "entropy", "expected_loss", "group_means",
    "held_out_certificate", "held_out_chain", "held_out_kl_chain", "hoeffding", "kl_certificate", "kl_divergence",
    "l2_certificate", "linear_rademacher", "log_class_size", "logit_shift", "margin_lipschitz", "margin_shift",
    "margins", "measure_theory", "mutual_information_bound", "partner_triangle", "pinsker", "probe_chain",
    "rademacher_certificate", "ramp", "ramp_rademacher", "retrieval_error_bound", "simulated_rademacher", "softmax",
    "softmax_kl", "softmax_tv", "theory_curve_point", "total_variation", "training_chain", "transferred_error",
    "tv_limit", "vote_error_bound", "vote_error_certificate", "vote_margin", "zero_shot_chain",
]  # fmt: skip
