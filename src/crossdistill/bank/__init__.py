"""The teacher bank: embeddings of every source item, computed once by the frozen teacher (docs/bank.md)."""

from crossdistill.bank.bank import TeacherBank, build_bank, open_bank
from crossdistill.bank.config import BankConfig
from crossdistill.bank.rows import BankRows
from crossdistill.bank.views import SourceViews, build_view_bank, teacher_view, view_placements

__all__ = [
    "BankConfig", "BankRows", "SourceViews", "TeacherBank", "build_bank", "build_view_bank", "open_bank",
    "teacher_view", "view_placements",
]  # fmt: skip
