"""CTC without a loss in validation: the lengths are those of training, and where they cannot be told there is no pair."""

import pytest
import torch

from tests.capture.styles import REGISTRY, Style, decoded
from tests.capture.styles.base import BATCH, classes, floats
from tests.capture.test_styles import run


@pytest.mark.parametrize("name", ["DecodedLines", "DecodedInside", "DecodedAlone", "DecodedPadded", "DecodedSelected"])
def test_lengths_of_a_validation_that_only_decodes(name):
    style = REGISTRY[name]
    _, observer = run(style)
    batches = list(style.loader("val")) * 2
    seen = [seen for stage, seen, _ in observer.seen if stage == "val"]
    assert len(seen) == len(batches)
    for one, batch in zip(seen, batches, strict=True):
        inputs, tokens = style.module.lengths(batch)
        assert (list(one.input_lengths), list(one.target_lengths)) == (inputs, tokens)
        assert one.blank == (4 if name == "DecodedAlone" else 0)


class Unnumbered(decoded.DecodedAlone):
    """Several lines per batch in validation, whose lengths are nowhere: the fill of training is a token as well."""


def several(g, stage):
    if stage == "train":
        return decoded.alone(g, stage)
    return floats(g, BATCH, decoded.FRAMES, 8), classes(g, BATCH, 4).clamp(max=3)


class Numbered(decoded.DecodedAlone):
    """What lies at the place of the targets is the number of the line."""

    def validation_step(self, batch, batch_idx):
        self.read.append(self.net(batch[0]).argmax(-1))


def numbered(g, stage):
    if stage == "train":
        return decoded.alone(g, stage)
    return floats(g, 1, decoded.FRAMES, 8), torch.ones(1, 2), torch.tensor([1])


@pytest.mark.parametrize(("module", "batch"), [(Unnumbered, several), (Numbered, numbered)])
def test_no_pair_where_lengths_or_targets_are_not_known(module, batch):
    _, observer = run(Style(module.__name__, module, batch, lambda m, b, s: (b[0], b[0]), "ctc"))
    facts = observer.capture.facts("val")
    assert not [seen for stage, seen, _ in observer.seen if stage == "val"]
    assert facts.source is None
    assert "no predictions and targets" in facts.problem
    if module is Unnumbered:
        assert "lengths" in facts.problem
