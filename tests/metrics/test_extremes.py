"""The fast maxima give what torch.max gives."""

import pytest
import torch

from lightning_diag.metrics.extremes import first_max


@pytest.mark.parametrize("shape", [(5, 3), (40, 1000), (9, 4099), (3, 7, 5000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_last_axis(shape, dtype):
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    values, indices = first_max(scores, -1)
    assert torch.equal(values, scores.amax(-1))
    assert torch.equal(scores.gather(-1, indices.unsqueeze(-1)).squeeze(-1), values)


@pytest.mark.parametrize("shape", [(2, 20, 64, 64), (3, 5, 9000)])
def test_classes_before_the_positions(shape):
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    values, indices = first_max(scores, 1)
    assert torch.equal(indices, scores.argmax(1))
    assert torch.equal(values, scores.amax(1))


def test_transposed_view_of_a_language_model():
    scores = torch.randn(4, 16, 3000, generator=torch.Generator().manual_seed(0)).transpose(1, 2)
    values, indices = first_max(scores, 1)
    assert torch.equal(indices, scores.argmax(1))
    assert torch.equal(values, scores.amax(1))


@pytest.mark.parametrize("shape", [(20, 2000), (2, 20, 50, 50)])
def test_nan_shows_in_the_value(shape):
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    scores.view(-1)[7] = torch.nan
    values, _ = first_max(scores, 1)
    assert int(values.isnan().sum()) == 1


def test_ties_in_the_last_block_stay_inside():
    scores = torch.zeros(20, 2001)
    scores[:, -1] = 1
    assert first_max(scores, 1)[1].tolist() == [2000] * 20
