"""The teacher bank: embeddings of every source item, computed once by the frozen teacher."""

from crossdistill.bank.bank import TeacherBank, build_bank, open_bank

__all__ = ["TeacherBank", "build_bank", "open_bank"]
