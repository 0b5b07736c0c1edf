"""CTC without a loss in validation: the lengths are those of training, and where they cannot be told there is no pair."""

import pytest
import torch

from lightning_diag.capture.scaling import agreed, learn
from tests.capture.styles import REGISTRY, Style, decoded
from tests.capture.styles.base import BATCH, classes, floats
from tests.capture.test_styles import run

DECODED = ["DecodedLines", "DecodedInside", "DecodedAlone", "DecodedPadded", "DecodedSelected", "DecodedComputed"]


@pytest.mark.parametrize("name", DECODED)
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


class Bent(decoded.DecodedComputed):
    """No rule of the kind that is known gives these lengths."""

    def frames(self, width):
        return (width**2 // 160).clamp(min=1)


class Open(decoded.DecodedComputed):
    """Training has but two widths, which leave open how many frames any other has."""


def two_widths(g, stage):
    batch = decoded.wide(g, stage)
    if stage == "train":
        batch["width"] = torch.where(batch["width"] > 30, 40, 20)
    return batch


@pytest.mark.parametrize(
    ("module", "batch"), [(Unnumbered, several), (Numbered, numbered), (Bent, decoded.wide), (Open, two_widths)]
)
def test_no_pair_where_lengths_or_targets_are_not_known(module, batch):
    _, observer = run(Style(module.__name__, module, batch, lambda m, b, s: (b[0], b[0]), "ctc"))
    facts = observer.capture.facts("val")
    assert not [seen for stage, seen, _ in observer.seen if stage == "val"]
    assert facts.source is None
    assert "no predictions and targets" in facts.problem
    if module is not Numbered:
        assert "lengths" in facts.problem
        assert ("leaves open by which rule" in facts.problem) == (module is Open)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("shift", [-3, 0, 1, 7])
def test_rules_that_give_all_lengths_seen_are_kept_and_only_those(step, shift):
    widths = torch.arange(20, 61)
    batch = {("width",): widths, ("other",): widths.flip(0)}
    lengths = (widths + shift) // step
    found = learn(lengths, batch)
    assert [(one.path, one.fits) for one in found] == [(("width",), ((step, shift, shift),))]
    new = torch.tensor([7, 100, 333])
    assert torch.equal(agreed(found, {("width",): new}, 1000), (new + shift) // step)
    assert not found[0].narrowed(lengths + 1, batch).fits
    assert agreed(found, {("width",): new}, 5).max() == 5
    assert agreed(found, {("other",): new}, 5) is None
