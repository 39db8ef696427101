"""``crossdistill compare``: methods against each other, with the same tuning and paired statistics."""

from crossdistill.compare.compare import compare, read_comparison
from crossdistill.compare.config import CompareConfig, MethodConfig, named_methods
from crossdistill.compare.findings import Findings

__all__ = ["CompareConfig", "Findings", "MethodConfig", "compare", "named_methods", "read_comparison"]
