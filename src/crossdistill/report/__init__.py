"""The report. It reads the run folder and nothing else of the library."""

from crossdistill.report.render import write_report
from crossdistill.report.table import build_table

__all__ = ["build_table", "write_report"]
