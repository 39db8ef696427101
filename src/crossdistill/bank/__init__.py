"""The teacher bank: embeddings of every source item, computed once by the frozen teacher."""

from crossdistill.bank.bank import TeacherBank, build_bank, open_bank
from crossdistill.bank.views import SourceViews, build_view_bank, teacher_view, view_placements

__all__ = [
    "SourceViews", "TeacherBank", "build_bank", "build_view_bank", "open_bank", "teacher_view", "view_placements",
]  # fmt: skip
