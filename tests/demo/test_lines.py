"""Digit lines and their readers: the data are what they say they are, and the readers accept them."""

import pytest
import torch

from lightning_diag.demo.data import DigitLines, LineStyle, collate_lines, line_loader
from lightning_diag.demo.models import CRNN, LineReader, TransformerReader


def test_same_seed_same_lines_and_other_writers_in_validation():
    first, again, val = DigitLines(5, seed=3), DigitLines(5, seed=3), DigitLines(5, "val", seed=3)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert any(a[0].shape != b[0].shape or not torch.equal(a[1], b[1]) for a, b in zip(first, val, strict=True))


def test_lines_vary_in_width_and_keep_their_token_range():
    lines = DigitLines(40)
    assert len({image.shape[-1] for image, _ in lines}) > 10
    tokens = torch.cat([target for _, target in lines])
    assert (int(tokens.min()), int(tokens.max())) == (1, 10)
    assert all(3 <= len(target) <= 8 for _, target in lines)


def test_pairs_have_a_hundred_tokens():
    style = LineStyle(pairs=True, tokens=(2, 4))
    tokens = torch.cat([target for _, target in DigitLines(300, style=style)])
    assert style.classes == 101
    assert len(tokens.unique()) > 90
    assert (int(tokens.min()) >= 1, int(tokens.max()) <= 100) == (True, True)


def test_collate_pads_with_the_blank():
    lines = [(torch.ones(1, 8, 5), torch.tensor([1, 2, 3])), (torch.ones(1, 8, 9), torch.tensor([4]))]
    images, targets, widths, lengths = collate_lines(lines)
    assert images.shape == (2, 1, 8, 9)
    assert targets.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert (widths.tolist(), lengths.tolist()) == ([5, 9], [3, 1])
    assert float(images[0, :, :, 5:].abs().max()) == 0


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'train' or 'val'"):
        DigitLines(1, "test")


def test_readers_give_normalised_frames_and_a_finite_loss():
    batch = next(iter(line_loader(DigitLines(6), 6)))
    for net in (CRNN(stride=4), TransformerReader()):
        reader = LineReader(net)
        reader.log = lambda *a, **k: None
        log_probs = reader.scores(batch[0])
        frames = reader.input_lengths(batch[2], log_probs.shape[0])
        assert log_probs.shape[1:] == (6, 11)
        assert int(frames.max()) <= log_probs.shape[0]
        assert torch.isfinite(reader.training_step(batch, 0))
