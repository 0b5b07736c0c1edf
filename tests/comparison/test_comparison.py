import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lightning_diag import statistics
from lightning_diag.cli import main
from lightning_diag.comparison import Run, compare, draw_comparison, mean_interval, render_comparison, short_names
from lightning_diag.comparison.differences import paired
from lightning_diag.errors import RecordError
from lightning_diag.findings import Diagnosis, Evidence, Finding
from lightning_diag.history import Count, EpochRecord, Outcomes, RunContext, RunHistory, StageRecord


def run(name, correct, n=29, *, findings=(), outcomes=(), **hparams):
    """A run whose validation counted ``correct`` of ``n`` in epochs 1, 2 ..."""
    epochs = tuple(
        EpochRecord(epoch=i, values={"val/acc": k / n}, stages={"val": StageRecord(n=n, correct=Count(k=k, n=n))})
        for i, k in enumerate(correct, start=1)
    )
    context = RunContext(hparams={k: str(v) for k, v in hparams.items()}, outcomes=outcomes)
    found = tuple(
        Finding(
            code=code,
            name="x-y",
            severity="error",
            confidence=0.9,
            claim="likely",
            title="t",
            summary="s",
            evidence=(Evidence(signal="val/acc", text="e"),),
        )
        for code in findings
    )
    return Run(
        name=name, history=RunHistory(context=context, epochs=epochs), diagnosis=Diagnosis(verdict="v", findings=found)
    )


def outcomes(bits, fingerprint=7):
    right = sum(1 << i for i, bit in enumerate(bits) if bit)
    return (Outcomes(stage="val", epoch=1, n=len(bits), fingerprint=fingerprint, right=f"{right:x}"),)


def test_before_and_after_resuming_is_not_established():
    """21 of 29 against 19 of 29 (the published accuracies 72.41 % and 65.52 %): Fisher p = 0.78."""
    result = compare([run("after", [5, 18, 19, 17, 17]), run("before", [21])])
    assert [s.name for s in result.standings] == ["before", "after"]
    (difference,) = result.differences
    assert difference.p_value == pytest.approx(stats.fisher_exact([[21, 8], [19, 10]])[1])
    assert difference.claim == "not established"
    assert difference.needed > 100
    page = render_comparison(result)
    assert "21/29 = 72 %" in page
    assert "is not established" in page


def test_a_large_difference_is_established_after_correction():
    result = compare([run("a", [90], 100), run("b", [60], 100), run("c", [85], 100)])
    claims = {d.other: (d.claim, d.p_value) for d in result.differences}
    assert claims["b"][0] == "established"
    assert claims["c"][0] == "not established"
    assert claims["b"][1] == pytest.approx(3 * stats.fisher_exact([[90, 10], [60, 40]])[1])
    assert "better than 1 of 2 other runs" in render_comparison(result)


def test_the_samples_that_would_do_allow_for_the_correction():
    two, three = [run("a", [90], 100), run("b", [85], 100)], [run("c", [84], 100)]
    alone, among = compare(two).differences[0].needed, compare(two + three).differences[0].needed
    assert alone < among == statistics.samples_needed(0.9, 0.85, 0.05 / 3)


def test_the_best_of_equal_runs_is_not_established():
    """The best was picked by the same counts; corrected for the other runs alone, 19 of 100 such sweeps had a claim."""
    rng = np.random.default_rng(0)
    sweeps = [[run(str(i), [int(k)], 300) for i, k in enumerate(rng.binomial(300, 0.7, 20))] for _ in range(60)]
    claims = [any(d.claim == "established" for d in compare(sweep).differences) for sweep in sweeps]
    assert sum(claims) <= 6, "at 5 % seven of 60 or more happen once in thirty"


def test_runs_that_saw_the_same_samples_are_compared_paired():
    """8 samples right in the one only, none in the other only: p = 2 / 2^8, which Fisher's test would not see."""
    first, second = outcomes([1] * 20 + [1] * 8 + [0] * 12), outcomes([1] * 20 + [0] * 8 + [0] * 12)
    runs = [run("a", [28], 40, outcomes=first), run("b", [20], 40, outcomes=second)]
    (difference,) = compare(runs).differences
    assert difference.p_value == pytest.approx(2 / 2**8)
    assert "8 against 0 of 40 (McNemar)" in difference.method
    assert stats.fisher_exact([[28, 12], [20, 20]])[1] > 0.05
    other_set = [runs[0], run("b", [20], 40, outcomes=outcomes([1] * 20 + [0] * 20, fingerprint=8))]
    assert "Fisher" in compare(other_set).differences[0].method


@pytest.mark.parametrize("change", [{"n": 5}, {"stage": "val:1"}, {"fingerprint": 1}, {"right": "zz"}, {"n": 0}])
def test_other_samples_are_not_paired(change):
    (first,) = outcomes([1, 0, 1])
    assert paired(first, first) == (0, 0)
    assert paired(first, replace(first, **change)) is None


def test_losses_cannot_be_tested_and_say_so():
    runs = [
        Run(
            name=n,
            history=RunHistory(epochs=(EpochRecord(epoch=0, values={"val/loss": v}),)),
            diagnosis=Diagnosis(verdict=""),
        )
        for n, v in (("a", 2.0), ("b", 1.0), ("c", math.nan))
    ]
    result = compare(runs)
    assert [s.name for s in result.standings] == ["b", "a", "c"]
    assert result.standings[2].best is None
    page = render_comparison(result)
    assert "cannot be tested" in page
    assert "not measured" in page


def test_a_loss_is_not_tested_by_the_answers_to_the_samples():
    runs = [
        Run(
            name=name,
            history=RunHistory(
                context=RunContext(monitor="val/loss", monitor_mode="min", outcomes=outcomes(bits)),
                epochs=(EpochRecord(epoch=0, values={"val/loss": loss}),),
            ),
            diagnosis=Diagnosis(verdict=""),
        )
        for name, loss, bits in (("a", 1.0, [1] * 30), ("b", 2.0, [0] * 30))
    ]
    (difference,) = compare(runs).differences
    assert difference.p_value is None
    assert "several seeds" in difference.method
    assert "--n-val" not in render_comparison(compare(runs))


def test_runs_on_other_data_say_that_a_difference_is_one_of_data_too():
    def with_classes(name, classes, correct):
        made = run(name, [correct], 100)
        return replace(made, history=replace(made.history, context=replace(made.history.context, classes=classes)))

    page = render_comparison(compare([with_classes("a", 4, 90), with_classes("b", 10, 40)]))
    assert "better than the other run." in page
    assert "differ in the number of classes: a difference is one of data and model together" in page
    assert "data and model" not in render_comparison(compare([with_classes("a", 4, 90), with_classes("b", 4, 40)]))


def test_positions_that_depend_on_each_other_are_no_reason_to_ask_for_their_number():
    def tagger(name, correct):
        made = run(name, [correct], 763)
        return replace(made, history=replace(made.history, context=replace(made.history.context, task="dense")))

    page = render_comparison(compare([tagger("a", 545), tagger("b", 203)]))
    assert "cannot be tested: the positions of one sample depend on each other." in page
    assert "--n-val" not in page


def test_a_run_that_could_not_be_tested_is_one_of_the_others():
    bare = run("bare", [50], 100)
    bare = replace(bare, history=replace(bare.history, epochs=(EpochRecord(epoch=1, values={"val/acc": 0.5}),)))
    page = render_comparison(compare([run("a", [90], 100), run("b", [40], 100), bare]))
    assert "It is established that it is better than 1 of 2 other runs." in page


def test_settings_that_differ_and_findings_by_run():
    runs = [
        run("a", [20], lr=0.1, model="x", findings=("LD201",)),
        run("b", [10], lr=0.3, model="x"),
        run("c", [11], model="x"),
    ]
    result = compare(runs)
    assert [(s.name, dict(s.values)) for s in result.settings] == [("lr", {"a": "0.1", "b": "0.3"})]
    assert result.findings == {("LD201", "x-y"): ("a",)}
    page = render_comparison(result)
    assert "| lr | 0.1 | – | 0.3 |" in page
    assert "| LD201 | x y | 1 of 3 |" in page
    many = compare([run(f"r{i}", [20 - i], lr=0.1 * (i > 0)) for i in range(9)])
    assert "| lr | 0.0 | `0.1` × 8 |" in render_comparison(many)


def test_folds():
    values = [20, 24, 22, 18, 25]
    result = compare([run(f"fold{i}", [28, k], 30) for i, k in enumerate(values)], folds=True)
    folds = result.folds
    assert folds.mean == pytest.approx(sum(values) / 150)
    assert folds.pooled == Count(k=109, n=150)
    assert folds.best_mean == pytest.approx(28 / 30)
    plain = stats.t.interval(0.95, 4, loc=folds.mean, scale=folds.deviation / math.sqrt(5))
    assert folds.interval.low == pytest.approx(folds.mean - (folds.mean - plain[0]) * math.sqrt(1 + 5 / 4))
    page = render_comparison(result)
    assert "on average over 5 folds" in page
    assert "109/150" in page
    assert mean_interval([0.5]) is None


def test_the_interval_over_folds_covers_about_as_often_as_it_says():
    """Folds whose means share a common part, as cross-validation's do."""
    import numpy as np

    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        interval = mean_interval(list(rng.normal(0, 0.5) * 0.4 + rng.normal(0, 1, 5)))
        hits += interval.low < 0 < interval.high
    assert hits / 400 > 0.93


def test_hostile_names_stay_in_their_cells():
    page = render_comparison(compare([run("a|b\n<script>`x`", [20], lr="|\n# x"), run("b", [10], lr="y")]))
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", page).replace("\\<script", "")
    assert "\n# x" not in page
    rows = [line for line in page.splitlines() if line.startswith("| a")]
    assert len(rows) == 1


def test_one_run_or_none_with_a_signal_is_a_clear_error():
    with pytest.raises(RecordError, match="at least two"):
        compare([run("a", [1])])
    empty = Run(name="x", history=RunHistory(), diagnosis=Diagnosis(verdict=""))
    with pytest.raises(RecordError, match="none of the runs"):
        compare([empty, replace(empty, name="y")])


def test_short_names():
    paths = [Path("/a/sweep/lr=0.1/version_0/metrics.csv"), Path("/a/sweep/lr=0.2/version_0/metrics.csv")]
    assert short_names(paths, ["", ""]) == ["lr=0.1", "lr=0.2"]
    assert short_names([Path("x/mlflow.db")] * 2, ["a" * 32, "b" * 32]) == ["x/aaaaaaaa", "x/bbbbbbbb"]
    assert short_names([Path("r/a.csv"), Path("r/b.csv"), Path("r/run.1")], [""] * 3) == ["a", "b", "run.1"]
    assert short_names([Path("a.csv")] * 2, ["", ""]) == ["a (1)", "a (2)"]


def test_figure_draws_many_runs_and_names_the_best():
    runs = [run(f"run {i}", [i % 29, 10, 12]) for i in range(100)]
    svg = draw_comparison(compare(runs))["comparison"].decode()
    assert svg.count('id="line2d_') >= 60
    assert "run 28" in svg
    assert len(svg) < 200_000


def write_runs(folder, count, epochs=20):
    for i in range(count):
        place = folder / f"lr{i}" / "version_0"
        place.mkdir(parents=True)
        rows = "".join(
            f"{e},{e},{2 / (e + 1 + i % 7)},{1 + 0.01 * e * (i % 5)},{(10 + (i + e) % 19) / 29}\n"
            for e in range(epochs)
        )
        (place / "metrics.csv").write_text("epoch,step,train_loss,val_loss,val_acc\n" + rows)
        (place / "hparams.yaml").write_text(f"lr: {i}\n")


def test_the_command_compares_a_sweep(tmp_path, capsys):
    write_runs(tmp_path / "sweep", 12)
    (tmp_path / "sweep" / "lr3" / "version_0" / "metrics.csv").write_text("nonsense")
    arguments = ["compare", str(tmp_path / "sweep"), "--n-val", "29", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "not read: " in capsys.readouterr().err
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert page.startswith("# Comparison of 11 runs")
    assert "28/29" in page
    assert "](<comparison/comparison.svg>)" in page
    assert (tmp_path / "out" / "comparison" / "comparison.svg").exists()
    assert main([*arguments[:-1], "-"]) == 0
    assert "# Comparison" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "sweep" / "lr1")]) == 2
    assert "at least two" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "nothing")]) == 2


@pytest.mark.reliability
def test_a_thousand_runs_take_less_than_a_minute(tmp_path):
    import time

    write_runs(tmp_path / "sweep", 1000, epochs=100)
    start = time.process_time()
    assert main(["compare", str(tmp_path / "sweep"), "--n-val", "29", "--out", str(tmp_path)]) == 0
    assert time.process_time() - start < 60
    assert (tmp_path / "comparison.md").stat().st_size < 100_000


def test_the_page_speaks_words_and_says_a_rate_once():
    page = render_comparison(compare([run("a", [5, 18, 19]), run("b", [5, 12])]))
    assert "The best validation accuracy is 19/29 = 66 %" in page
    assert "val/acc" not in page
    assert "| best validation accuracy |" in page
    row = next(line for line in page.splitlines() if line.startswith("| a |"))
    assert row.count("19/29") == 1
    assert "| the best |" in row
    assert b"val/acc" not in draw_comparison(compare([run("a", [5, 18]), run("b", [5, 12])])).get("comparison", b"")


def test_several_labels_are_compared_by_exact_match_only_among_themselves():
    def labelled(name, task):
        made = run(name, [5, 12])
        return replace(made, history=replace(made.history, context=replace(made.history.context, task=task)))

    assert compare([labelled("a", "multilabel"), labelled("b", "multilabel")]).called == "validation exact match"
    assert compare([labelled("a", "multilabel"), labelled("b", "multiclass")]).called == "validation accuracy"


def test_what_is_only_worth_knowing_is_no_finding_and_not_no_finding():
    def known(made):
        less = tuple(replace(finding, severity="info") for finding in made.diagnosis.findings)
        return replace(made, diagnosis=replace(made.diagnosis, findings=less))

    page = render_comparison(compare([known(run("a", [5, 9], findings=("LD601",))), run("b", [5, 7])]))
    assert "No run has an error or a warning." in page
    assert "No run has a finding." not in page
    assert "LD601, 1 of 2 runs" in page
    assert "No run has a finding." in render_comparison(compare([run("a", [5, 9]), run("b", [5, 7])]))


def test_a_run_that_nothing_else_measured_is_not_called_untested():
    alone = render_comparison(
        compare([run("a", [5, 9]), Run(name="b", history=RunHistory(), diagnosis=Diagnosis(verdict="v"))])
    )
    assert "No other run measured it." in alone
    assert "one number each" not in alone
    assert "picked by chance too" not in alone


def test_an_observed_setting_has_words_where_no_run_named_it():
    def planned(name, epochs, **hparams):
        made = run(name, [5, 9], **hparams)
        optim = replace(made.history.context.optim, planned_epochs=epochs, lr=0.1 * epochs)
        return replace(made, history=replace(made.history, context=replace(made.history.context, optim=optim)))

    names = {s.name for s in compare([planned("a", 4), planned("b", 5)]).settings}
    assert {"planned epochs", "learning rate"} <= names
    mixed = compare([planned("a", 4, lr=0.3), planned("b", 5)]).settings
    assert [s.values for s in mixed if s.name == "lr"] == [{"a": "0.3", "b": "0.5"}]
