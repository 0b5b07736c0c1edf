"""Both write-ups and the nine curves are read as worked out by hand."""

from __future__ import annotations

import pytest

from lightning_diag.engine import diagnose
from tests import seeds


def test_seed1_names_the_destroyed_start_as_established() -> None:
    diagnosis = diagnose(seeds.seed1())
    assert diagnosis.verdict.startswith(
        "The first epoch after resuming destroyed a working model: validation fell from 21/29 = 72 % to 5/29 = 17 % in "
        "epoch 22 (p = 0.00005); the best of the 5 evaluations recorded since is 19/29 = 66 % in epoch 31."
    )
    drop = diagnosis.findings[0]
    assert (drop.code, drop.severity, drop.claim) == ("LD503", "error", "established")
    assert "learning rate too high at resume is likely" in drop.title
    assert any("5e-4" in e.text or "0.0005" in e.text for e in drop.evidence)
    assert {"optimiser", "preprocessing", "weights"} <= set(
        " ".join(e.text for e in drop.against).replace(",", "").split()
    )


def test_seed1_does_not_claim_what_29_samples_cannot_carry() -> None:
    diagnosis = diagnose(seeds.seed1())
    worse = diagnosis.not_established[0]
    assert "72 % → 59 %" in worse.claim
    assert worse.reason.endswith(
        "p = 0.41 (Fisher's exact test); pairing these samples could not settle it (p = 0.13 at best)"
    )
    assert "about 190 samples" in worse.needed
    assert "paired" not in worse.needed.replace("unpaired", "")


def test_seed1_establishes_the_gap_and_the_missed_target() -> None:
    diagnosis = diagnose(seeds.seed1())
    gap = diagnosis.finding("LD203")
    assert gap is not None
    assert gap.claim == "established"
    assert "39 points (23–57) ahead of validation: training 219/224 = 98 %, validation 17/29 = 59 %" in gap.summary
    assert diagnosis.finding("LD201") is not None
    assert diagnosis.finding("LD207") is None, "not worse and worse are never printed together"
    target = diagnosis.finding("LD208")
    assert target is not None
    assert "p = 0.003" in target.summary
    assert diagnosis.finding("LD301") is None
    assert any(c.code == "LD302" and c.text == "4 of 4 classes predicted" for c in diagnosis.clear)


def test_seed2_never_generalised_and_claims_no_cause() -> None:
    diagnosis = diagnose(seeds.seed2())
    assert diagnosis.verdict.startswith(
        "The model hardly generalised, if at all: validation 1/168 = 0.6 % is not better than chance (1 %, one of 100 classes; p = 0.82), "
        "6/168 = 3.6 % at best (epoch 20, p = 0.01 as the best of 2 recorded evaluations)"
    )
    assert diagnosis.findings[0].claim == "likely", "6 of 168 alone would pass for better than 1 %"
    assert [f.code for f in diagnosis.causes] == ["LD202"]
    texts = " ".join(e.text for e in diagnosis.findings[0].evidence)
    assert "11.4 against 4.61 = ln 100" in texts
    sign, *unverified = [e.text for e in diagnosis.findings[0].against]
    assert sign.startswith("alone, 6/168 = 3.6 % in epoch 20 would be better than chance (p = 0.007)")
    assert all(text.startswith("not verified: ") for text in unverified)
    for cause in ("pretrained weights", "label map and pairing", "memorised"):
        assert any(cause in text for text in unverified)
    assert any("p = 0.12" in c.reason for c in diagnosis.not_established)


@pytest.mark.parametrize(
    "name", ["healthy", "healthy, noisy, 29 samples", "healthy, validation loss below training loss"]
)
def test_healthy_curves_are_quiet(name: str) -> None:
    diagnosis = diagnose(seeds.NINE[name]())
    assert diagnosis.causes == ()
    assert diagnosis.verdict.startswith("Nothing is wrong")


def test_loss_up_accuracy_up_is_over_confidence() -> None:
    diagnosis = diagnose(seeds.over_confident())
    assert diagnosis.causes == ()
    assert [f.code for f in diagnosis.findings] == ["LD207"]


@pytest.mark.parametrize(("name", "word"), [("plain overfitting", "overfits"), ("class collapse", "collapsed")])
def test_sick_curves_are_named_in_the_first_line(name: str, word: str) -> None:
    assert word in diagnose(seeds.NINE[name]()).verdict
