"""What is equal for all competitors of the comparison, and what is not.

Equal for all four: pictures, epochs, batch size, steps, side in pixels, threads, float32, no worker processes, torch.

| | crossdistill | plain loop | torchdistill | lightly-train |
|---|---|---|---|---|
| teacher | timm's DINOv2 ViT | the same | the same | its own DINOv2 ViT, same weights |
| position embedding | at the pictures' size | the same | the same | resampled from a grid of 37 x 37 |
| teacher runs | once over all pictures | every step | every step | every step |
| teacher sees | picture as it is | picture as it is | augmented picture | augmented, mixed-up picture |
| student | timm's, random weights, linear layer | the same | the same | the same |
| loss | squared distance of unit vectors | the same | the same | softmax over a queue of teacher vectors |
| decoding | once, kept in memory | the same | the same | every epoch, by its own loader |
| augmentation | a batch at a time | the same | the same | a picture at a time, by albumentations |
| geometry | turn, shift, zoom, flip | the same | the same | turn, crop, flip |
| photometry | brightness, contrast | the same | the same | brightness, contrast; mix-up |
| optimiser | AdamW, decay on matrices alone | AdamW | AdamW | AdamW, clipped, rate scaled by its own rule |
| schedule | warm-up, half a cosine | the same | the same | its own |
| written | log, checkpoint an epoch, teacher, bank, student | nothing | nothing | log, checkpoint an epoch, student |
| checked beforehand | networks, pairs | nothing | nothing | settings, pictures |
"""

from __future__ import annotations


def terms() -> dict[str, dict[str, str]]:
    """The table above, for the results: what, then competitor, then how."""
    lines = [line for line in (__doc__ or "").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|---")]
    names = rows[0][1:]
    return {what: dict(zip(names, cells, strict=True)) for what, *cells in rows[1:]}
