"""The one computation behind the contrastive and the similarity-distribution objectives, exact at any size.

For an anchor i and its candidates j, with logits ``l_ij = scale <anchor_i, column_j>``,

    entropy_i = log sum_j exp(l_ij) - sum_j target_ij l_ij

where the target is the anchor's own column (InfoNCE) or another similarity distribution (CMD, SEED). Candidates are
the columns of other source items, and the anchor's own column where it is given.
"""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core.batch import Batch
from crossdistill.objectives.core.column_tiles import ColumnTiles
from crossdistill.objectives.core.columns import TeacherColumns
from crossdistill.objectives.core.row_blocks import RowBlocks, Target
from crossdistill.objectives.core.same_item import SameItem

MEMORY_MB = 64
"""Default budget for the tiles of one loss, in MiB. More of it brings no speed."""


def similarity_loss(
    batch: Batch,
    anchors: Tensor,
    columns: Tensor | TeacherColumns,
    scale: Tensor,
    *,
    own: Tensor | None = None,
    target: Target | None = None,
    power: float = 0.0,
    memory_mb: float = MEMORY_MB,
    repeats: int = 1,
) -> Tensor:
    """Mean over the batch of the cross-entropy, a scalar. It is differentiated once only.

    Args:
        batch: whose rows are the anchors.
        anchors: unit rows ``(B, d)`` of the whole batch.
        columns: unit rows ``(B, d)`` of the whole batch, which may need a gradient; or the bank, which has none.
        scale: 1/tau, a scalar tensor.
        own: unit rows ``(B, d)``: each anchor's own column, always a candidate.
        target: the distribution to match; the own column without one. Its scale and rows get no gradient.
        power: softens each anchor's entropy to ``(1 - exp(-power * entropy)) / power``; 0 leaves it.
        memory_mb: budget for the tiles in MiB.
        repeats: how many times the batch stands in ``anchors`` and ``columns``, one after the other (its views).

    Raises:
        ValueError: neither an own column nor a target is given, or the bank needs ids and the batch has none.
    """
    if own is None and target is None:
        raise ValueError("similarity_loss needs an own column or a target distribution")
    memory = int(memory_mb * 2**20)
    if isinstance(columns, TeacherColumns):
        if not batch.named:
            raise ValueError("Compared with the bank, rows need the ids of their source items: pass ids (B,).")
        # Where the columns are spread over the ranks, every rank sees to all rows; otherwise to its own.
        part = slice(None) if columns.sharded else batch.mine
        same = columns.same_item(batch.ids[part])
        chosen = None if target is None else _rows(target, part)
        own = None if own is None else own.detach()[part]
        total = ColumnTiles.apply(anchors[part], columns, scale, own, chosen, same, power, memory)
        return (total if columns.sharded else batch.total(total)) / max(1, len(batch))

    count, total = len(batch), anchors.new_zeros(())
    ids = batch.ids.repeat(repeats)
    for view in range(repeats):
        part = slice(view * count + batch.mine.start, view * count + batch.mine.stop)
        same = SameItem(ids[part], ids)
        chosen = None if target is None else _rows(target, part)
        own_part = None if own is None else own[part]
        total = total + RowBlocks.apply(anchors[part], columns, scale, own_part, chosen, same, power, memory)
    return batch.total(total) / max(1, count * repeats)


def _rows(target: Target, part: slice) -> Target:
    own = None if target.own is None else target.own.detach()[part]
    columns = None if target.columns is None else target.columns.detach()
    return Target(target.anchors.detach()[part], columns, target.scale.detach(), own)
