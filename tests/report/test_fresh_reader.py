"""What a reader who knows nothing of the library stumbled on."""

from __future__ import annotations

from dataclasses import replace

from lightning_diag.checkpoints.table import message
from lightning_diag.engine import diagnose
from lightning_diag.history import Baseline, CaptureFacts, Count, CTCFacts, DataFacts, PretrainFacts, SplitFacts, Target
from lightning_diag.report import render_markdown
from lightning_diag.report.figures.curves import _levels
from lightning_diag.report.view import View
from tests import healthy, seeds
from tests.build import history, with_matrix


def report(run):
    return render_markdown(run, diagnose(run))


def reasons(run):
    return {outcome.code: outcome.reason for outcome in diagnose(run).not_checked}


def test_padded_lines_were_fingerprinted_and_say_why_they_do_not_compare():
    train, val = SplitFacts(hashed=64, distinct=64, features=528), SplitFacts(hashed=64, distinct=64, features=496)
    run = seeds.blank_collapse()
    run = replace(run, context=replace(run.context, data=DataFacts(train=train, val=val)))
    assert reasons(run)["LD603"] == (
        "samples of the two splits differ in size (528 and 496 values), as padded ones do: their fingerprints do not compare"
    )
    assert "LD608" not in reasons(run), "renamed tokens have a rule of their own"
    assert "LD704" not in reasons(run), "a CTC loss is not a cross-entropy"


def test_reasons_name_the_one_that_holds():
    loud = CaptureFacts(stage="train", source="loss call cross_entropy", task="multiclass")
    series = {"train/loss": [1.0, 0.8], "val/loss": [1.0, 0.9], "grad/norm": [1.0, 1.0]}
    known = reasons(history(series, task="multiclass", classes=3, capture=(loud,), train={"class_counts": (9, 8)}))
    assert known["LD112"] == "no clipping of gradients by norm is configured"
    assert known["LD306"] == "the loss was called without class weights"
    unknown = reasons(history({"train/loss": [1.0, 0.8]}, task="multiclass", train={"class_counts": (9, 8)}))
    assert unknown["LD306"].endswith(", or no loss call was seen")


def test_a_log_is_not_said_to_be_a_module():
    run = history({"val/loss": [1.0, 0.9]}, counts={"val": [(10, 40), (20, 40)]}, classes=4, source="metrics.csv")
    assert {reasons(run)[code] for code in ("LD608", "LD706", "LD301")} == {
        "a log holds no model, no gradients, no inputs and no predictions: attach a callback of this library for these"
    }


def test_every_epoch_that_a_sentence_names_has_its_row():
    losses = [2.0 - 0.1 * i for i in range(14)] + [0.71 + 0.03 * i for i in range(46)]
    run = history({"train/loss": [2.0 * 0.95**i for i in range(60)], "val/loss": losses})
    text = report(run)
    assert "Overfitting since epoch 13" in text
    assert "24 of 60 epochs" in text
    assert "\n| 13 |" in text or "\n| **13** |" in text


def test_copies_within_validation_are_named():
    data = DataFacts(
        train=SplitFacts(size=80, hashed=80, distinct=80),
        val=SplitFacts(size=140, hashed=140, distinct=97),
        overlap=Count(k=98, n=140),
    )
    text = report(history({"val/loss": [1.0, 0.5]}, data=data))
    assert "Within validation 43 of 140 samples repeat another one." in text


def test_counts_are_written_in_one_way():
    run = history(
        {"val/loss": [1.0, 0.5]}, counts={"val": [(6000, 8400), (6454, 8400)], "train": [(1, 168), (6, 168)]}, classes=4
    )
    text = report(run)
    assert "6,454/8,400 = 76.8 %" in text
    assert "6454/8400" not in text
    assert "6/168 = 3.6 %" in text
    assert "= 4 %" not in text


def test_causes_come_before_the_missed_target():
    run = history(
        {
            "train/loss": [1.4, 0.9, 0.6, 0.4, 0.25, 0.12, 0.06, 0.03],
            "val/loss": [1.4, 1.1, 0.95, 1.0, 1.1, 1.3, 1.5, 1.7],
        },
        counts={"val": [(k, 200) for k in (80, 120, 130, 132, 134, 128, 126, 124)]},
        classes=4,
        target=Target(value=0.9),
    )
    missed = diagnose(run).finding("LD208")
    assert missed is not None
    assert missed.title == "Target missed by 28 points"
    causes = [finding.code for finding in diagnose(run).causes]
    assert causes[-1] == "LD208"
    assert causes[0] == "LD201"


def test_limits_are_worth_knowing_and_explained_by_nothing():
    text = report(seeds.seed2())
    known = text.partition("**Worth knowing**")[2]
    assert "LD601" in known
    assert "LD602" in known
    assert "This explains" not in text
    assert "Not verified.\n" not in text


def test_a_table_of_leaked_rates_says_so_and_weighs_no_luck():
    data = DataFacts(train=SplitFacts(size=80, hashed=80, distinct=80), overlap=Count(k=98, n=140))
    text = report(history({}, counts={"val": [(100, 140), (133, 140), (130, 140)]}, classes=10, data=data))
    assert "Part of validation is also in training (LD603): on new samples these rates will be lower." in text
    assert "partly luck" not in text


def test_the_doubted_epoch_is_the_one_that_the_report_calls_best():
    """Token errors are lowest in epoch 2; that epoch 1 decodes more whole lines chooses nothing."""
    ter = {"ctc/val/ter": [0.9, 0.5, 0.4, 0.45], "val/loss": [3.0, 1.5, 1.2, 1.3]}
    by_errors = {"task": "ctc", "monitor": "ctc/val/ter", "monitor_mode": "min"}
    run = history(ter, counts={"val": [(0, 150), (12, 150), (9, 150), (10, 150)]}, **by_errors)
    assert not [doubt for doubt in diagnose(run).not_established if "epoch 1" in doubt.claim + doubt.reason]
    chosen = history(ter, counts={"val": [(0, 150), (9, 150), (12, 150), (10, 150)]}, **by_errors)
    assert any("That epoch 2 decodes as many as 8 % of the lines" in d.claim for d in diagnose(chosen).not_established)


def test_a_target_reached_by_the_best_of_many_is_not_called_surpassed_by_luck():
    run = history(
        {}, counts={"val": [(k, 400) for k in (360, 376, 365, 376, 376)]}, classes=4, target=Target(value=0.9)
    )
    table = report(run)
    assert (
        "| best | 1 | 376/400 = 94 % | 91–96 % | reached; a true rate above it is established (p = 0.02 as the best"
        in table
    )
    assert (
        "| final | 4 | 376/400 = 94 % | 91–96 % | as good as the best; reached; a true rate above it is established (p = 0.003)"
        in table
    )
    late = history(
        {}, counts={"val": [(k, 400) for k in (360, 373, 365, 366, 362)]}, classes=4, target=Target(value=0.9)
    )
    assert "reached; a true rate above it is not established (p = 0.07 as the best of 5 evaluations)" in report(late)


def test_counts_of_a_sample_say_so():
    run = history(
        {"train/loss": [1.0, 0.8], "probe/train_acc": [0.3125, 0.75], "probe/train_n": [16.0, 16.0]},
        counts={"train": [(15, 64), (29, 64)], "val": [(8, 29), (20, 29)]},
        train={"size": 64},
        classes=4,
    )
    text = report(run)
    assert "| 5/16 = 31 % [14, 56] |" in text
    assert "Train acc (eval mode) is measured on a fixed sample, 16 of 64 training samples." in text
    lines = {"train": [(0, 2), (2, 2)], "val": [(0, 29), (5, 29)]}
    read = report(history({"ctc/val/ter": [0.9, 0.8]}, counts=lines, task="ctc", train={"size": 200}))
    assert "| 2/2 = 100 % [34, 100] |" in read
    assert (
        "Train lines exact and train TER are read from a sample: in the last epoch 2 of the 200 training lines." in read
    )


def test_samples_that_settle_a_fall_allow_for_the_choice_of_the_best():
    """62 of 100 at best, 50 at the end: two planned evaluations need fewer samples than the best of 40 and the last."""
    counts = {"val": [(55, 100)] * 20 + [(62, 100)] + [(55, 100)] * 18 + [(50, 100)]}
    (chosen,) = (d for d in diagnose(history(counts=counts, classes=4)).not_established if "got worse" in d.claim)
    assert "about 570 samples (power 80 %, the choice among 40 evaluations allowed for)" in chosen.needed
    planned = Baseline(source="given", epoch=0, correct=Count(k=62, n=100))
    run = history(counts={"val": [(50, 100)]}, epochs=[1], classes=4, baseline=planned)
    (claim,) = (d for d in diagnose(run).not_established if "got worse" in d.claim)
    assert "about 270 samples (power 80 %)" in claim.needed


def test_a_learning_rate_is_named_once():
    hparams = {"lr": "0.03", "net.lr": "0.1", "width": "16"}
    run = history(
        {"train/loss": [1.0, 0.9]}, lrs=[0.03, 0.03], optim={"lr": 0.03, "optimizer": "Adam"}, hparams=hparams
    )
    text = report(run)
    assert "| optimiser | Adam, learning rate 0.03 |" in text
    assert "| lr |" not in text
    assert "| net.lr | 0.1 |" in text


def test_chance_is_one_rate_and_has_a_name():
    """In the figure as in the sentences: the share of the largest class where the classes were counted, else 1 of n."""
    counts = {"train": [(22, 60), (60, 60)], "val": [(8, 40), (9, 40)]}
    run = history(
        {"train/loss": [1.0, 0.01], "val/loss": [1.2, 2.0]},
        counts=counts,
        classes=3,
        val={"class_counts": (10, 10, 20)},
    )
    assert "is not better than chance (50 %, the share of the most frequent validation class; p = 1.00)" in report(run)
    assert [text for _, text, _ in _levels(View(history=run, diagnosis=diagnose(run)), "val/acc")] == ["chance 50 %"]
    unknown = history({"train/loss": [1.0, 0.01], "val/loss": [1.2, 2.0]}, counts=counts, classes=3)
    assert "is not better than chance (33 %, one of 3 classes; p = 0.95)" in report(unknown)
    levels = _levels(View(history=unknown, diagnosis=diagnose(unknown)), "val/acc")
    assert [text for _, text, _ in levels] == ["chance 33 %"]


def test_a_fall_of_one_sample_in_150_is_no_claim():
    run = history(counts={"val": [(60, 150), (87, 150), (86, 150)]}, classes=4)
    assert not [doubt for doubt in diagnose(run).not_established if "got worse" in doubt.claim]


def test_one_sample_of_twelve_is_level():
    run = history(counts={"val": [(6, 12), (12, 12), (11, 12), (12, 12)]}, classes=4)
    assert "lower" not in report(run)


def test_what_a_finding_says_of_a_ctc_call_is_not_said_again():
    check = ("blank-in-targets", "7 of 145 target tokens equal the blank index 0. Do: shift the labels")
    facts = CTCFacts(blank=0, classes=11, checks=(check,), blank_in_targets=Count(k=7, n=145), never_emitted=(0,))
    run = history({"ctc/val/ter": [1.0, 0.2], "val/loss": [3.0, 0.5]}, task="ctc", ctc=facts)
    found = diagnose(run)
    assert found.finding("LD402")
    text = report(run)
    assert text.count("equal the blank") == 1
    told = replace(found, findings=())
    assert render_markdown(run, told).count("equal the blank") == 3, (
        "without the finding the facts stand with the others"
    )


def test_a_gap_is_given_once():
    run = history(
        {"train/loss": [2.0, 1.0, 0.5, 0.2, 0.1], "val/loss": [2.0, 1.2, 1.5, 1.8, 2.1]},
        counts={
            "train": [(40, 150), (100, 150), (130, 150), (145, 150), (149, 150)],
            "val": [(100, 397)] + [(250, 397)] * 4,
        },
        classes=10,
        train={"size": 150},
        model={"trainable": 1000},
    )
    text = report(run)
    assert "Generalisation gap · LD203 · info:** As above." in text
    assert "Training set too small · LD602 · info:" in text
    assert text.count("(31–41)") == 1
    assert text.count("points better") == 0
    assert "Do: more samples, or augmentation." in text.replace("Do: More", "Do: more")


def test_reasons_of_several_labels_and_of_tokens_are_the_true_ones():
    series, rows = {"train/loss": [1.0, 0.8]}, {"val": [(5, 5, 4), (6, 5, 4)]}
    tags = reasons(history(series, counts={"val": [(3, 9), (4, 9)]}, rows=rows, task="multilabel", classes=2))
    assert "a sample has several labels, so that samples are not counted by class" in tags.values()
    assert not [reason for reason in tags.values() if "no class labels were captured" in reason]
    bce = CaptureFacts(stage="train", source="loss call binary_cross_entropy_with_logits", task="multilabel")
    name = {"loss_name": "binary_cross_entropy_with_logits"}
    weighed = history(series, task="multilabel", classes=2, train={"class_counts": (9, 8)}, capture=(bce,), model=name)
    assert "pos_weight" in reasons(weighed)["LD306"]
    tokens = reasons(history(series, task="dense", classes=2, train={"hashed": 9, "distinct": 9, "repeated": 0}))
    assert not [reason for reason in tokens.values() if "were not looked at" in reason]
    assert "the inputs are indices, as of tokens, which have no mean and no spread" in tokens.values()


def test_one_repeated_sample_is_one():
    run = history({"val/loss": [1.0, 0.9]}, counts={"val": [(10, 40), (20, 40)]}, classes=4)
    record = run.epochs[-1]
    one = replace(record, stages={"val": replace(record.stages["val"], padded=1)})
    run = replace(
        run, epochs=(*run.epochs[:-1], one), context=replace(run.context, data=DataFacts(train=SplitFacts(size=9)))
    )
    assert "1 validation sample was repeated" in report(run)


def test_samples_of_several_labels_are_not_shared_out_over_the_classes():
    counts = {"val": [(50, 130), (70, 130)]}
    assert "per class" in diagnose(history(counts=counts, task="multiclass", classes=6)).finding("LD601").summary
    assert "per class" not in diagnose(history(counts=counts, task="multilabel", classes=6)).finding("LD601").summary


def test_the_verifier_does_not_offer_what_is_set():
    facts = PretrainFacts(verdict="not loaded")
    assert "Meant so?" in message(facts)
    assert "Meant so?" not in message(facts, on_not_loaded="warn")


def test_the_share_of_samples_with_all_labels_right_is_called_an_exact_match():
    text = report(healthy.multilabel())
    result = text.split("## ")[0]
    assert "| validation exact match |" in result
    assert "Exact match: a sample counts as right only where all of its 20 labels are right." in result
    assert "Of the single labels 95 % were right in the last evaluation." in result
    assert " exact match in epoch" in result.split("\n\n")[1]
    assert "| train exact match |" in text.split("## Epochs")[1].split("\n\n")[1]
    assert "accuracy" not in text.split("## Checked and clear")[0]
    single = report(seeds.healthy())
    assert "xact match" not in single


def test_checks_made_for_other_tasks_are_listed_with_the_reason():
    several = reasons(healthy.multilabel())
    assert several["LD203"] == "made for one answer per sample, and a sample has several labels here"
    amounts = reasons(history({"val/loss": [1.0, 0.9], "train/loss": [1.0, 0.9]}, task="regression"))
    assert amounts["LD301"] == "made for class labels, and a regression has none"
    assert not {code for code in amounts if code.startswith("LD4")}


def test_a_p_value_below_five_percent_beside_a_clear_check_names_its_level():
    run = history({"val/loss": [1.0, 0.9]}, data={"shift_smd": 0.1, "shift_auc": 0.55, "shift_pvalue": 0.03})
    text = report(run)
    assert "two-sample test p = 0.03 (the splits are called different below 0.01)." in text
    assert "split shift" in text.split("## Checked and clear")[1].split("## ")[0]
    strict = {"LD604": {"alpha": 0.05}}
    assert "called different below 0.05" in render_markdown(run, diagnose(run, thresholds=strict))


def test_what_only_a_part_of_the_samples_was_looked_at_for_says_so():
    train = {"size": 600, "hashed": 300, "distinct": 300}
    val = {"size": 101, "hashed": 51, "distinct": 51, "sampled": 51, "nonfinite_inputs": 0}
    none = {"overlap": Count(k=0, n=51)}
    text = report(history({"val/loss": [1.0, 0.9]}, data=none, train=train, val=val, devices=2))
    assert "| distinct among fingerprinted | 300 of 300, a part of the 600 | 51 of 51, a part of the 101 |" in text
    assert "0 of 51, a part of the 101 |" in text
    which = "ompared were 300 of 600 training and 51 of 101 validation samples, those of one process of 2"
    assert text.count(which) == 1
    leak = report(
        history({"val/loss": [1.0, 0.9]}, data={"overlap": Count(k=20, n=51)}, train=train, val=val, devices=2)
    )
    assert leak.count(which) == 1
    assert which in leak.split("## What went wrong")[1].split("## Epochs")[0]
    whole = {"size": 300, "hashed": 300, "distinct": 300}
    alone = report(history({"val/loss": [1.0, 0.9]}, data=none, train=whole, val=val | {"size": 51}))
    assert "a part of" not in alone
    assert "ompared were" not in alone


def learning_rate(rates, scheduler, events=None, **series):
    run = history({"val/loss": [1.0] * len(rates), **series}, lrs=rates, events=events, optim={"scheduler": scheduler})
    return report(run).split("## Learning rate\n\n")[1].split("\n")[0]


def test_a_gradual_schedule_is_told_by_its_peak_and_its_end():
    cuts = dict.fromkeys((5, 6, 7), "lr_cut")
    one_cycle = [0.0041, 0.0095, 0.0097, 0.008, 0.0054, 0.0027, 0.0007, 4e-8]
    first = {"lr/first": [0.0004, *[None] * 7]}
    assert learning_rate(one_cycle, "OneCycleLR", cuts, **first) == (
        "OneCycleLR: rose from 0.0041 in epoch 0 to 0.0097 in epoch 2, fell to 4e-8 in epoch 7 (each at the end of the epoch)."
    )
    assert (
        learning_rate([0.8**n for n in range(6)], "LambdaLR") == "LambdaLR: fell from 1 in epoch 0 to 0.328 in epoch 5."
    )


def test_single_cuts_restarts_and_jumps_keep_their_epochs():
    cuts = dict.fromkeys((2, 3, 4), "lr_cut")
    stepped = learning_rate([0.1, 0.1, 0.01, 0.001, 1e-4], "MultiStepLR", cuts)
    assert stepped == "MultiStepLR: 0.1 in epoch 0, 0.0001 in epoch 4. Cut in epochs 2, 3, 4."
    assert learning_rate([0.1, 0.1, 0.01, 0.01], "") == "0.1 in epoch 0, 0.01 in epoch 3."
    assert "highest 2 in epoch 4" in learning_rate([1.0, 0.8, 0.6, 0.4, 2.0, 1.0, 0.5], "CosineAnnealingLR")


def test_classes_that_are_all_alike_are_not_ranked():
    """All at 100 %, all of a diverged model, or one left below the others that are full."""
    claims = {}
    for name, cells, nan in (
        ("full", [(10, 10, 10), (11, 11, 11)], False),
        ("lost", [(10, 21, 10), (11, 0, 0)], True),
        ("mixed", [(10, 12, 10), (11, 9, 9)], False),
    ):
        losses = [1.0, float("nan")] if nan else [1.0, 0.5]
        run = history(
            {"train/loss": losses, "val/loss": losses}, counts={"val": [(9, 21), None]}, rows={"val": cells}, classes=2
        )
        claims[name] = [d for d in diagnose(run).not_established if "class" in d.claim]
    assert not claims["full"]
    assert not claims["lost"]
    assert "class 1 9/11" in claims["mixed"][0].reason
    assert "class 0 10/10 = 100 % [72, 100]" in claims["mixed"][0].reason, "beside a lower one, 100 % is ranked"


def test_a_doubted_fall_gives_its_counts_and_its_test_once():
    run = history({}, counts={"val": [(20, 29), (22, 29), (19, 29)]}, classes=10)
    text = report(run)
    below = text[text.index("## What is not established") : text.index("## Epochs")]
    assert "22/29 = 76 %" not in below, "the claim has the rates"
    assert "22/29 in epoch 1 against 19/29 at the end" in below
    table = text[: text.index("## What is not established")]
    assert "−10 points against epoch 1: not established |" in table


def test_a_small_matrix_that_is_drawn_is_not_written_out_again():
    run = with_matrix(history(rows={"val": [(10, 9, 8), (10, 11, 9)]}, classes=2), [[8, 2], [1, 9]])
    found = diagnose(run)
    assert "## Most confused" in render_markdown(run, found)
    assert "## Most confused" not in render_markdown(run, found, figures={"confusion": "diagnosis/confusion.svg"})
    big = [[5 if i == j else int(j == i + 1) for j in range(20)] for i in range(20)]
    many = with_matrix(history(rows={"val": [(6, 6, 5)] * 20}, classes=20), big)
    assert "## Most confused" in render_markdown(many, diagnose(many), figures={"confusion": "diagnosis/confusion.svg"})
