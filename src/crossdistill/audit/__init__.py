"""A check of a paired data set before any training: what is unreadable, doubled, leaking, empty, odd or mismatched."""

from crossdistill.audit.audit import Audit, audit
from crossdistill.audit.finding import SEVERITIES, Finding, Severity, by_check

__all__ = ["SEVERITIES", "Audit", "Finding", "Severity", "audit", "by_check"]
