"""Gradient caching: parts give the gradients of the whole, with dropout and with batch normalisation per part."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from crossdistill.errors import ConfigError
from crossdistill.objectives import CMCD
from crossdistill.training.gradient_cache import embed_in_parts
from crossdistill.training.shared_norm import SharedBatchNorm


def network(*middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), *middle, nn.Tanh(), nn.Linear(10, 4)).double()


def gradients(encoder: nn.Module, embedded: Tensor, teacher: Tensor) -> tuple[Tensor, list[Tensor]]:
    encoder.zero_grad()
    loss = CMCD()(embedded, teacher)
    loss.backward()
    return loss.detach(), [parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None]


ITEMS = torch.randn(11, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TEACHER = torch.randn(11, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 4, 10, 11, 50])
def test_parts_give_the_gradients_of_the_whole(size: int) -> None:
    encoder = network(nn.LayerNorm(10))
    expected = gradients(encoder, encoder(ITEMS), TEACHER)
    torch.testing.assert_close(gradients(encoder, embed_in_parts(encoder, ITEMS, size), TEACHER), expected)


def test_dropout_draws_the_same_in_both_passes() -> None:
    encoder = network(nn.Dropout(0.5))
    torch.manual_seed(3)
    expected = gradients(encoder, torch.cat([encoder(part) for part in ITEMS.tensor_split(3)]), TEACHER)
    torch.manual_seed(3)
    torch.testing.assert_close(gradients(encoder, embed_in_parts(encoder, ITEMS, 4), TEACHER), expected)


def test_no_activation_of_more_than_one_part_is_in_memory() -> None:
    """Counts the rows that are kept between the passes: the embeddings' gradients alone, not the hidden layers."""
    encoder = network()
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.shape) or each, lambda each: each):
        embed_in_parts(encoder, ITEMS, 4)
    assert not [shape for shape in kept if len(shape) == 2 and shape[1] == 10], "hidden layers are not kept"
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.shape) or each, lambda each: each):
        encoder(ITEMS)
    assert [shape for shape in kept if len(shape) == 2 and shape[1] == 10], "as they are without caching"


def test_batch_normalisation_is_refused_unless_it_is_wanted_per_part() -> None:
    with pytest.raises(ConfigError, match=r"1 layers of BatchNorm1d, batches of 11 in parts of 4(.|\n)*per_part"):
        embed_in_parts(network(nn.BatchNorm1d(10)), ITEMS, 4)
    frozen = network(nn.BatchNorm1d(10)).eval()
    expected = gradients(frozen, frozen(ITEMS), TEACHER)
    torch.testing.assert_close(gradients(frozen, embed_in_parts(frozen, ITEMS, 4), TEACHER), expected)


def test_batch_normalisation_per_part_moves_its_statistics_once() -> None:
    ours = network(nn.BatchNorm1d(10))
    theirs = copy.deepcopy(ours)
    expected = gradients(theirs, torch.cat([theirs(part) for part in ITEMS.tensor_split(3)]), TEACHER)
    result = gradients(ours, embed_in_parts(ours, ITEMS, 4, batch_norm="per_part"), TEACHER)
    torch.testing.assert_close(result, expected)
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(10), nn.utils.parametrizations.spectral_norm(nn.Linear(10, 10))])
def test_buffers_are_the_same_in_both_passes_and_backward_may_run_again(layer: nn.Module) -> None:
    """Running statistics and the vectors of a spectral norm move in the first pass, and in that one alone."""
    ours = network(copy.deepcopy(layer))
    theirs = copy.deepcopy(ours)
    expected = gradients(theirs, torch.cat([theirs(part) for part in ITEMS.tensor_split(3)]), TEACHER)
    loss = CMCD()(embed_in_parts(ours, ITEMS, 4, batch_norm="per_part"), TEACHER)
    for _ in range(2):
        ours.zero_grad()
        loss.backward(retain_graph=True)
        found = [parameter.grad.clone() for parameter in ours.parameters() if parameter.grad is not None]
        torch.testing.assert_close((loss.detach(), found), expected)
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, other)


def test_parts_are_even_so_that_none_is_a_single_item() -> None:
    encoder = network(nn.BatchNorm1d(10))
    assert embed_in_parts(encoder, ITEMS[:9], 4, batch_norm="per_part").shape == (9, 4)  # 3, 3, 3 and not 4, 4, 1
    with pytest.raises(ConfigError, match="two items or more"):
        embed_in_parts(encoder, ITEMS, 1, batch_norm="per_part")
    for size, batch_norm in ((0, "refuse"), (4, "per-part")):
        with pytest.raises(ConfigError, match="refuse or per_part"):
            embed_in_parts(encoder, ITEMS, size, batch_norm=batch_norm)  # type: ignore[arg-type]


def test_without_gradients_it_is_the_encoder() -> None:
    encoder = network()
    with torch.no_grad():
        torch.testing.assert_close(embed_in_parts(encoder, ITEMS, 3), encoder(ITEMS))


def test_what_is_embedded_once_more_is_normalised_over_all_ranks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch leaves its modes in a backward pass; without the mode the second embedding would be of one rank alone."""
    sums: list[int] = []
    monkeypatch.setattr("torch.distributed.all_reduce", lambda moments: sums.append(moments.numel()))
    encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with SharedBatchNorm():
        embed_in_parts(encoder, torch.randn(6, 4), 3, batch_norm="per_part").square().sum().backward()
    forward, backward = 2 * 3 + 1, 2 * 3  # numbers a layer sends: moments and their count, and two sums
    assert sums == [forward] * 2 + [forward, backward] * 2
