"""Checks of the first calls of a CTC loss: torch raises for none of these faults, and each costs a run.

The first calls are read on the host: a handful of small copies per fit, none afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightning_diag.metrics.ctc_counts import NORM_TOLERANCE
from lightning_diag.metrics.ctc_frames import NOTHING, CTCCall, infeasible, repeats, rows_of

MIXED_AXES = 1.2
"""Ratio of :func:`axis_ratio` that means exchanged axes. Untrained recurrent, convolutional and transformer readers have
0.47 to 0.87, frames without any smoothness 1.0, and the same scores reshaped instead of transposed 1.21 to 2.7."""
LENGTH_SHARE = 0.8
"""A padded batch is as long as its longest line, so the longest input length is the number of frames, but for rounding."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One answer: a code word, what was seen, and the line of code that mends it."""

    word: str
    seen: str
    fix: str

    @property
    def sentence(self) -> str:
        """What was seen and what to do."""
        return f"{self.seen} Do: {self.fix}"


@dataclass(kw_only=True)
class CallChecks:
    """Looks at the first calls of a stage and says what is wrong with their arguments.

    Attributes:
        decoder_blank: blank of the decoder, where known.
        calls: calls of which scores and targets are read. length_calls: calls of which the lengths are kept.
        found: answers so far, by code word. done: whether there is nothing left to check.
    """

    decoder_blank: int | None = None
    calls: int = 3
    length_calls: int = 16
    found: dict[str, Check] = field(default_factory=dict)
    _lengths: list[tuple[int, Tensor]] = field(default_factory=list)
    _axes: list[float] = field(default_factory=list)
    done: bool = False

    def observe(self, call: CTCCall) -> tuple[Check, ...]:
        """Check one call; returns what is new. After ``length_calls`` calls it does nothing."""
        if self.done:
            return ()
        known = set(self.found)
        if len(self._lengths) < self.calls:
            self._first(call)
        extremes = torch.stack((call.input_lengths.amin(), call.input_lengths.amax()))
        self._lengths.append((int(call.log_probs.shape[0]), extremes))
        if len(self._lengths) >= self.length_calls:
            self.finish()
        return tuple(check for word, check in self.found.items() if word not in known)

    def finish(self) -> tuple[Check, ...]:
        """Judge the lengths seen so far (at the end of a short first epoch); returns what is new."""
        if self.done or not self._lengths:
            return ()
        known = set(self.found)
        self.done = True
        frames = [t for t, _ in self._lengths]
        home = self._lengths[-1][1].device  # those of before a resume lie on the host
        extremes = torch.stack([e.to(home) for _, e in self._lengths]).tolist()
        self._say(_scaled_lengths(frames, [low for low, _ in extremes], [high for _, high in extremes]))
        return tuple(check for word, check in self.found.items() if word not in known)

    def state(self) -> dict[str, Any]:
        """What was seen and found, as plain values; reads the lengths of at most :attr:`length_calls` calls."""
        return {
            "found": [[check.word, check.seen, check.fix] for check in self.found.values()],
            "lengths": [[frames, *extremes.tolist()] for frames, extremes in self._lengths],
            "axes": list(self._axes),
            "done": self.done,
        }

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`, before the first call."""
        self._say(*(Check(word=word, seen=seen, fix=fix) for word, seen, fix in state["found"]))
        self._lengths = [(int(frames), torch.tensor(extremes)) for frames, *extremes in state["lengths"]]
        self._axes, self.done = list(state["axes"]), bool(state["done"])

    def _say(self, *checks: Check | None) -> None:
        """Keep the first answer of each kind."""
        for check in checks:
            if check is not None:
                self.found.setdefault(check.word, check)

    def _first(self, call: CTCCall) -> None:
        """The checks that need scores and targets."""
        targets = rows_of(call.targets)
        self._say(
            not_log_probabilities(call),
            blank_in_targets(targets, call.blank, padded=call.padded),
            labels_out_of_range(targets, call.log_probs.shape[2]),
            infeasible_lines(call),
            lengths_are_targets(call),
            blank_of_decoder(call.blank, self.decoder_blank),
            padding_as_tokens(targets, call.blank),
        )
        self._axes.append(axis_ratio(call.log_probs))
        if len(self._axes) == self.calls:
            self._say(mixed_axes(self._axes))


def not_log_probabilities(call: CTCCall) -> Check | None:
    """Frames whose probabilities do not sum to one, and what they are instead."""
    scores = call.log_probs.float()
    masses = scores.exp()
    off = float((masses.sum(2) - 1).abs().max())
    if not off > NORM_TOLERANCE:
        return None
    if float(scores.min()) >= 0 and float((scores.sum(2) - 1).abs().max()) < NORM_TOLERANCE:
        seen = (
            "The CTC loss was given probabilities: they lie in 0..1 and sum to 1 per frame; it needs their logarithm."
        )
        return Check(word="probabilities", seen=seen, fix="log_probs = logits.log_softmax(-1), instead of softmax.")
    for axis, name in ((0, "time"), (1, "batch")):
        if scores.shape[axis] > 1 and float((masses.sum(axis) - 1).abs().max()) < NORM_TOLERANCE:
            seen = f"The scores sum to one over the {name} axis, not over the classes (off by {off:.2g} there)."
            return Check(word="wrong-axis", seen=seen, fix="take log_softmax(-1), over the last axis, the classes.")
    seen = f"The CTC loss was given raw scores: exp(log_probs) sums to 1 ± {off:.2g} per frame, expected 1.00."
    return Check(word="raw-scores", seen=seen, fix="log_probs = logits.log_softmax(-1) before the loss.")


def blank_in_targets(targets: Sequence[Sequence[int]], blank: int, *, padded: bool) -> Check | None:
    """Targets that contain the blank: padding that was counted, or ids that clash with it."""
    tokens = sum(map(len, targets))
    blanks = sum(list(line).count(blank) for line in targets)
    if not blanks:
        return None
    inner = sum(list(_without_tail(line, blank)).count(blank) for line in targets)
    if not inner and padded and all(len(line) == len(targets[0]) for line in targets):
        seen = f"The target lengths count the padding: {blanks} of {tokens} target tokens are the blank ({blank}), all at the ends."
        return Check(
            word="padding-counted", seen=seen, fix="pass the length of each target before padding as target_lengths."
        )
    seen = f"{blanks} of {tokens} target tokens equal the blank index {blank}; the blank cannot be a label."
    fix = "shift the labels (targets + 1 with blank=0), or give the blank its own index (blank=C-1, one output more)."
    return Check(word="blank-in-targets", seen=seen, fix=fix)


def _without_tail(line: Sequence[int], token: int) -> Sequence[int]:
    """The line without a run of ``token`` at its end."""
    end = len(line)
    while end and line[end - 1] == token:
        end -= 1
    return line[:end]


def padding_as_tokens(targets: Sequence[Sequence[int]], blank: int) -> Check | None:
    """Target lengths that count padding with a token other than the blank: equal lengths, ends that repeat one token."""
    if len(targets) < 4 or len({len(line) for line in targets}) > 1:
        return None
    ends = [line[-1] for line in targets if len(line) >= 2 and line[-1] == line[-2]]
    token = max(set(ends), key=ends.count, default=blank)
    if token == blank or 2 * ends.count(token) < len(targets):
        return None
    seen = f"{ends.count(token)} of {len(targets)} targets end in a run of token {token} and all are equally long: padding is counted."
    return Check(
        word="padding-counted", seen=seen, fix="pass the length of each target before padding as target_lengths."
    )


def labels_out_of_range(targets: Sequence[Sequence[int]], classes: int) -> Check | None:
    """Labels that the output does not have; the CPU kernel reads beyond its memory for them."""
    # negative labels are kept one lower, so that they do not look like padding
    wrong = [t + 1 if t < NOTHING else t for line in targets for t in line if t < NOTHING or t >= classes]
    if not wrong:
        return None
    seen = (
        f"{len(wrong)} target tokens lie outside 0..{classes - 1} (for example {wrong[0]}); torch does not check this."
    )
    return Check(
        word="out-of-range", seen=seen, fix=f"give the network {max(max(wrong) + 1, classes)} outputs, or mend the ids."
    )


def infeasible_lines(call: CTCCall) -> Check | None:
    """Lines without a path."""
    bad = infeasible(call)
    count = int(bad.sum())
    if not count:
        return None
    row = int(bad.to(torch.int64).argmax())
    effect = (
        "zero_infinity=True hides them" if call.zero_infinity else "their loss is infinite and destroys the weights"
    )
    frames, tokens, equal = (int(v[row]) for v in (call.input_lengths, call.target_lengths, repeats(call)))
    blanks = f" and {equal} blank{'' if equal == 1 else 's'} between equal neighbours" if equal else ""
    seen = (
        f"{count} of {call.lines} lines have fewer frames than they need (line {row} has {frames} and needs "
        f"{tokens + equal}: {tokens} tokens{blanks}); {effect}."
    )
    fix = "subsample less in time, leave such lines out, or make the input longer."
    return Check(word="infeasible", seen=seen, fix=fix)


def lengths_are_targets(call: CTCCall) -> Check | None:
    """Input lengths that are the target lengths."""
    same = bool((call.input_lengths == call.target_lengths).all()) and call.lines > 1
    if not same or int(call.input_lengths.max()) >= call.log_probs.shape[0]:
        return None
    seen = f"input_lengths equals target_lengths in every line, although there are {call.log_probs.shape[0]} frames."
    return Check(word="lengths-wrong", seen=seen, fix="pass the number of frames of each line after subsampling.")


def blank_of_decoder(blank: int, decoder: int | None) -> Check | None:
    """Loss and decoder that disagree on the blank."""
    if decoder is None or decoder == blank:
        return None
    seen = f"The loss uses blank={blank}, the decoder blank={decoder}."
    return Check(word="decoder-blank", seen=seen, fix=f"decode with blank={blank}.")


def axis_ratio(log_probs: Tensor) -> float:
    """How much more neighbours in time differ than neighbours in the batch, after the means over both are taken out.

    The mean over the batch takes out what depends on the position alone (positional encodings), the mean over time what
    depends on the line alone.
    """
    scores = log_probs.float()
    if min(scores.shape[:2]) < 8:  # the means taken out would be most of what there is
        return 1.0
    rest = scores - scores.mean(0, keepdim=True) - scores.mean(1, keepdim=True) + scores.mean((0, 1), keepdim=True)
    time = float((rest[1:] - rest[:-1]).square().mean().sqrt())
    batch = float((rest[:, 1:] - rest[:, :-1]).square().mean().sqrt())
    return time / batch if batch > 0 and math.isfinite(time) else 1.0


def mixed_axes(ratios: Sequence[float]) -> Check | None:
    """(N, T, C) read as (T, N, C): then neighbours in the batch are the smooth direction."""
    ratio = min(ratios)
    if ratio < MIXED_AXES:
        return None
    seen = f"Neighbours in time differ {ratio:.1f} times as much as neighbours in the batch: the two axes look exchanged or mixed."
    return Check(word="axes-mixed", seen=seen, fix="log_probs.transpose(0, 1), not reshape or view, to get (T, N, C).")


def _scaled_lengths(frames: Sequence[int], low: Sequence[int], high: Sequence[int]) -> Check | None:
    """Input lengths that do not follow the frames.

    A batch is padded to its longest line, so the largest input length is the number of frames. Where all inputs are padded
    to one size, lengths may be shorter, but then they vary.
    """
    shares = [h / max(t, 1) for h, t in zip(high, frames, strict=True)]
    constant = min(low) == max(high) and max(high) < LENGTH_SHARE * max(frames)
    scaled = len(set(frames)) >= 3 and max(shares) < LENGTH_SHARE
    if not (constant or scaled):
        return None
    how = (
        f"is {min(low)} in every line"
        if constant
        else f"is at most {max(shares):.0%} of the frames in each of {len(frames)} batches"
    )
    seen = f"input_lengths {how}, while the output has {min(frames)} to {max(frames)} frames: the rest of each line is never read."
    fix = "compute the lengths with the subsampling that the network really has (frames = width // stride)."
    return Check(word="lengths-wrong", seen=seen, fix=fix)
