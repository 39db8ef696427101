"""CMC, cross-modality contrastive loss: InfoNCE between the student's and the frozen teacher's embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from crossdistill.objectives.similarity import check_shapes, check_temperature, log_distribution, same_item, unit_rows


class CMC(nn.Module):
    """``-1/B sum_i log exp(<s_i, t_i>/tau) / sum_j exp(<s_i, t_j>/tau)``, averaged with its transpose if symmetric.

    Source: CMC of arXiv 2405.03355; the symmetric form as in CLIP, arXiv 2103.00020.

    Args:
        temperature: tau.
        symmetric: also classify, for each teacher embedding, which student embedding is its pair.
    """

    def __init__(self, temperature: float = 0.1, symmetric: bool = True) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature, name="cmc")
        self.symmetric = symmetric

    def forward(self, student: Tensor, teacher: Tensor, ids: Tensor | None = None) -> Tensor:
        """Student ``(B, d)``, teacher ``(B, d)``, optional source ids ``(B,)`` to a scalar.

        Rows of equal id show the same source item, so they are no negatives of each other.

        Raises:
            ValueError: shapes differ.
        """
        check_shapes(student, teacher, ids, name="cmc")
        logits = unit_rows(student) @ unit_rows(teacher).T / self.temperature
        false_negatives = same_item(ids, len(student), student.device)
        false_negatives = false_negatives.clone().fill_diagonal_(False)
        loss = -log_distribution(logits, false_negatives).diagonal().mean()
        if self.symmetric:
            loss = (loss - log_distribution(logits.T, false_negatives).diagonal().mean()) / 2
        return loss


OBJECTIVE = CMC
