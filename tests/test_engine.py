"""Bookkeeping, ranking and the first line."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from lightning_diag.engine import diagnose
from lightning_diag.engine.ranking import rank
from lightning_diag.engine.verdict import verdict
from lightning_diag.errors import ConfigError
from lightning_diag.findings import Clear, Evidence, Finding
from lightning_diag.history import Count, EpochRecord, Paired, PretrainFacts, RunHistory, StageRecord
from lightning_diag.rules.base import CannotTellError, Rule
from tests import seeds
from tests.build import history


def finding(code: str, **fields: object) -> Finding:
    known = {
        "name": code.lower(),
        "severity": "warning",
        "confidence": 0.9,
        "claim": "established",
        "title": code,
        "summary": f"{code} is true.",
        "evidence": (Evidence(signal="val/loss", text="1", observed=1.0),),
    }
    return Finding(code=code, **{**known, **fields})


@dataclass(frozen=True, kw_only=True)
class Fake(Rule):
    """A rule that says what the test wants."""

    code: ClassVar[str] = "LD999"
    name: ClassVar[str] = "fake"
    needs: ClassVar[tuple[str, ...]] = ("val/loss",)
    min_epochs: ClassVar[int] = 2
    limit: float = 1.0

    def check(self, history: RunHistory) -> Finding | None:
        value = history.series("val/loss").values[-1]
        if value == 13:
            raise RuntimeError("boom")
        if value == 7:
            raise CannotTellError("seven says nothing")
        return finding("LD999") if value > self.limit else None


@pytest.mark.parametrize(
    ("losses", "answer"),
    [
        ([0.5, 2.0], "findings"),
        ([0.5, 0.5], "clear"),
        ([0.5, 13], "crashed"),
        ([0.5, 7], "not_checked"),
        ([2.0], "not_checked"),
    ],
)
def test_each_rule_gives_one_answer(losses: list[float], answer: str) -> None:
    diagnosis = diagnose(history({"val/loss": losses}), rules=[Fake()])
    for kind in ("findings", "clear", "crashed", "not_checked"):
        assert len(getattr(diagnosis, kind)) == (kind == answer)


def test_reasons_are_sentences_for_users() -> None:
    reason = diagnose(history({"train/loss": [1.0, 2.0]}), rules=[Fake()]).not_checked[0].reason
    assert reason == "no validation loss was recorded (add a validation loader, or log val_loss)"
    assert (
        diagnose(history({"val/loss": [1.0]}), rules=[Fake()])
        .not_checked[0]
        .reason.startswith("measured once, at least 2")
    )
    assert diagnose(RunHistory(), rules=[Fake()]).not_checked[0].reason == "no epoch was finished"


def test_thresholds_are_laid_over_and_reported() -> None:
    losses = history({"val/loss": [0.5, 2.0]})
    diagnosis = diagnose(losses, rules=[Fake()], thresholds={"LD999": {"limit": 3.0}})
    assert not diagnosis.findings
    assert diagnosis.thresholds == {"LD999": {"limit": 3.0}}


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"LD000": {"limit": 1.0}}, "no code 'LD000'; all codes: lightning-diag explain"),
        ({"over fit": {"rise": 1.0}}, r"did you mean LD201 \(overfitting\)"),
        ({"ld201": {"rise": 1.0}}, "given by code: .* is LD201"),
        ({"Overfitting": {"rise": 1.0}}, "given by code: .* is LD201"),
        ({"LD999": {"limits": 1.0}}, "has no setting 'limits'; it has: limit"),
        ({"LD999": 3.0}, "is 3.0: expected field: value; fake has: limit"),
        *[
            ({"LD999": {"limit": bad}}, "LD999.limit is .*: expected a number of 0 or more, such as its default, ")
            for bad in ("high", "0.3", None, True, [1.0], -1.0, math.nan)
        ],
    ],
)
def test_wrong_thresholds_are_refused_with_what_exists(thresholds: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        diagnose(history({"val/loss": [0.5, 2.0]}), rules=[Fake()], thresholds=thresholds)


def test_causes_come_before_what_they_explain() -> None:
    found, _ = rank(
        [finding("LD301", severity="error"), finding("LD612", explains=("LD301",)), finding("LD602", severity="info")]
    )
    assert [(f.code, f.explained_by, f.severity) for f in found] == [
        ("LD612", None, "warning"),
        ("LD301", "LD612", "info"),
        ("LD602", None, "info"),
    ]


def test_what_is_only_worth_knowing_hides_nothing_that_needs_action() -> None:
    found, _ = rank(
        [
            finding("LD705", severity="info", explains=("LD102", "LD205")),
            finding("LD102", severity="error"),
            finding("LD205", severity="info"),
        ]
    )
    assert [(f.code, f.explained_by, f.severity) for f in found] == [
        ("LD102", None, "error"),
        ("LD705", None, "info"),
        ("LD205", "LD705", "info"),
    ]


def test_what_limits_a_run_is_not_explained_by_what_went_wrong_with_it() -> None:
    found, _ = rank([finding("LD602"), finding("LD202", severity="error", outweighs=("LD602",))])
    assert [(f.code, f.explained_by, f.severity) for f in found] == [("LD202", None, "error"), ("LD602", None, "info")]
    found, _ = rank([finding("LD602"), finding("LD202", confidence=0.3, outweighs=("LD602",))])
    assert {f.code: f.severity for f in found}["LD602"] == "warning", "an unlikely finding outweighs nothing"


def test_a_missed_target_comes_after_every_cause() -> None:
    found, _ = rank(
        [finding("LD208", confidence=1.0), finding("LD201", confidence=0.6), finding("LD205", severity="info")]
    )
    assert [f.code for f in found] == ["LD201", "LD208", "LD205"]


def test_an_unlikely_cause_explains_nothing() -> None:
    found, _ = rank([finding("LD301"), finding("LD612", confidence=0.3, explains=("LD301",))])
    assert [f.code for f in found] == ["LD301", "LD612"]
    assert all(f.explained_by is None for f in found)


def test_two_that_explain_each_other_make_no_circle() -> None:
    found, _ = rank([finding("LD102", severity="error", explains=("LD106",)), finding("LD106", explains=("LD102",))])
    assert [(f.code, f.explained_by) for f in found] == [("LD102", None), ("LD106", "LD102")]


def test_contradictions_are_never_printed_together() -> None:
    found, dismissed = rank([finding("LD204", confidence=0.6, excludes=("LD201",)), finding("LD201", confidence=0.95)])
    assert [f.code for f in found] == ["LD201"]
    assert [d.code for d in dismissed] == ["LD204"]
    assert "LD201" in dismissed[0].text


def test_order_is_by_expected_benefit() -> None:
    found, _ = rank(
        [finding("LD1"), finding("LD2", severity="error", confidence=0.6), finding("LD3", severity="error")]
    )
    assert [f.code for f in found] == ["LD3", "LD2", "LD1"]


def test_nothing_measured_is_said() -> None:
    assert diagnose(RunHistory()).verdict.startswith("Nothing can be said")


def test_a_part_that_failed_is_said_first() -> None:
    run = history({"train/loss": [1.0]}, notes=("metrics (batch_end) failed and was switched off: ValueError: no.",))
    said = diagnose(run).verdict
    assert said.startswith(
        "Metrics (batch_end) failed and was switched off; the error stands under “Not checked”. Of the rest nothing is wrong"
    )


def test_a_checkpoint_that_could_not_be_compared_is_said_first() -> None:
    looked = (Clear(code="LD1", name="ld1"),)
    missing, fine = "Whether the pretrained weights", "Nothing is wrong"
    for told, name, said in (("cannot tell", "a.ckpt", missing), ("loaded", "a.ckpt", fine), ("cannot tell", "", fine)):
        run = history({"val/loss": [1.0]}, pretrain=PretrainFacts(verdict=told, checkpoint=name))
        assert verdict(run, (), looked, ()).startswith(said)


def test_nothing_right_is_not_called_nothing_wrong() -> None:
    looked = (Clear(code="LD1", name="ld1"),)
    wrong, few = (verdict(history(counts={"val": [(0, n)]}), (), looked, ()) for n in (54, 5))
    assert wrong.startswith(
        "No check found a cause, but hardly anything is right in validation: validation reached 0/54"
    )
    assert few.startswith("Nothing is wrong that was looked for")
    for errors, healthy in ((1.49, False), (0.2, True)):  # whole lines are seldom right, their tokens may be
        lines = history({"ctc/val/ter": [errors]}, counts={"val": [(0, 54)]}, task="ctc")
        assert verdict(lines, (), looked, ()).startswith("Nothing is wrong") is healthy


def test_a_drop_that_noise_explains_is_not_established() -> None:
    claims = diagnose(seeds.seed1()).not_established
    worse = next(c for c in claims if "got worse" in c.claim)
    assert worse.claim == "That validation got worse over all (72 % → 59 %)"
    assert (
        worse.reason
        == "21/29 in epoch 21 against 17/29 at the end, p = 0.41 (Fisher's exact test); pairing these samples could not settle it (p = 0.13 at best)"
    )
    assert "about 190 samples" in worse.needed
    target = next(c for c in claims if "target" in c.claim)
    assert "not ruled out (p = 0.14" in target.reason
    classes = next(c for c in claims if "class" in c.claim)
    assert "doctor 4/10 = 40 % [17, 69]" in classes.reason


def test_an_established_drop_is_not_called_unestablished() -> None:
    claims = diagnose(history(counts={"val": [(380, 400), (300, 400)]}, classes=10)).not_established
    assert not [c for c in claims if "got worse" in c.claim]


def test_pairs_decide_where_they_were_kept() -> None:
    run = history(counts={"val": [(80, 100), (70, 100)]}, classes=10)
    last = run.epochs[-1]
    paired = Paired(reference_epoch=0, both=70, gained=0, lost=10, neither=20)
    stage = StageRecord(n=100, correct=Count(k=70, n=100), paired=paired)
    epochs = (run.epochs[0], type(last)(epoch=1, values=last.values, stages={"val": stage}))
    claims = diagnose(RunHistory(context=run.context, epochs=epochs)).not_established
    assert not [c for c in claims if "got worse" in c.claim]
    unpaired = diagnose(run).not_established
    assert [c for c in unpaired if "got worse" in c.claim]


def test_a_difference_that_rounds_away_is_no_claim():
    def run(last):
        records = [
            EpochRecord(
                epoch=i, values={"val/acc": k / 400}, stages={"val": StageRecord(n=400, correct=Count(k=k, n=400))}
            )
            for i, k in enumerate((368, last))
        ]
        return [c.claim for c in diagnose(RunHistory(epochs=tuple(records))).not_established]

    assert any("got worse" in claim for claim in run(360))
    assert not any("got worse" in claim for claim in run(367))


def test_what_a_finding_suspects_is_not_called_clear() -> None:
    run = seeds.seed1()
    run = replace(
        run,
        epochs=tuple(replace(r, values={**r.values, "train/loss": 1.0 / (1 + i)}) for i, r in enumerate(run.epochs)),
    )
    diagnosis = diagnose(run)
    assert diagnosis.finding("LD503") is not None
    assert "LD102" not in {c.code for c in diagnosis.clear}
    assert "LD503" in next(n.reason for n in diagnosis.not_checked if n.code == "LD102")


def test_reasons_of_a_log_are_few() -> None:
    run = history(
        {"train/loss": [1.0, 0.5, 0.2], "val/loss": [1.0, 0.8, 0.9], "val/acc": [0.5, 0.6, 0.6]}, source="CSV: log.csv"
    )
    diagnosis = diagnose(run)
    assert len({n.reason for n in diagnosis.not_checked}) <= 12
