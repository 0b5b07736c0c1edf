"""Ratios from the sums of :class:`~lightning_diag.metrics.ctc_signals.CTCSignals`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def values_of(
    counts: Mapping[str, int], reals: Mapping[str, float], tokens: Sequence[Sequence[int]]
) -> dict[str, float]:
    """The signals by their short name; a ratio without a denominator is left out.

    Args:
        counts: whole-number sums by name.
        reals: real sums by name.
        tokens: (3, C) support, emitted and matched per token.
    """
    return {
        **_targets(counts),
        **_loss(counts, reals),
        **_output(counts, reals, tokens),
        **_errors(counts),
    }


def _ratio(name: str, top: float, bottom: float) -> dict[str, float]:
    """``{name: top / bottom}``, or nothing."""
    return {name: top / bottom} if bottom else {}


def _targets(counts: Mapping[str, int]) -> dict[str, float]:
    """What the arguments of the loss say without a look at the output."""
    return {
        **_ratio("infeasible_share", counts["impossible"], counts["lines"]),
        **_ratio("blank_target_share", counts["blank_targets"], counts["target_tokens"]),
        **_ratio("out_of_range_share", counts["out_of_range"], counts["target_tokens"]),
        **_ratio("length_share", counts["frames_given"], counts["frames_all"]),
        **_ratio("tokens_per_frame", counts["target_tokens"], counts["frames_given"]),
        **_ratio("tokens_per_line", counts["target_tokens"], counts["lines"]),
    }


def _loss(counts: Mapping[str, int], reals: Mapping[str, float]) -> dict[str, float]:
    """Loss per token and steps without a finite one."""
    return {
        **_ratio("loss_per_token", reals["loss"], counts["loss_weight"]),
        "nonfinite_losses": float(counts["nonfinite_losses"]),
    }


def _output(counts: Mapping[str, int], reals: Mapping[str, float], tokens: Sequence[Sequence[int]]) -> dict[str, float]:
    """What the frames say."""
    frames, emitted = counts["read_frames"], counts["emitted"]
    return {
        **_ratio("blank_share", counts["blank_frames"], frames),
        **_ratio("blank_expected", frames - counts["read_tokens"], frames),
        **_ratio("blank_posterior", reals["blank_posterior"], frames),
        **_ratio("nonblank_per_token", frames - counts["blank_frames"], counts["read_tokens"]),
        **_ratio("emit_ratio", emitted, counts["read_tokens"]),
        **_ratio("empty_share", counts["empty"], counts["read_lines"]),
        **_ratio("top_token_share", max(tokens[1]), emitted),
        "distinct_tokens": float(sum(n > 0 for n in tokens[1])),
        "reference_tokens": float(sum(n > 0 for n in tokens[0])),
        **_ratio("entropy", reals["entropy"], counts["probed_frames"]),
        **_ratio("norm_error_share", counts["badly_normed"], counts["probed_frames"]),
        **_ratio("nonfinite_share", counts["nonfinite_frames"], counts["probed_frames"]),
        **_ratio("pinned_share", counts["pinned"], counts["probed_frames"]),
    }


def _errors(counts: Mapping[str, int]) -> dict[str, float]:
    """Edit operations per reference token of the decoded lines."""
    wrong = counts["substitutions"] + counts["deletions"] + counts["insertions"]
    tokens = counts["edit_tokens"]
    return {
        **_ratio("ter", wrong, tokens),
        **_ratio("sub", counts["substitutions"], tokens),
        **_ratio("del", counts["deletions"], tokens),
        **_ratio("ins", counts["insertions"], tokens),
        **_ratio("exact_share", counts["exact"], counts["decoded"]),
        **_ratio("distinct_hypotheses", counts["distinct"], counts["decoded"]),
    }
