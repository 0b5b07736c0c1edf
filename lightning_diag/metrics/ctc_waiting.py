"""CTC calls that wait, copied, until some of them are counted together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_diag.metrics.ctc_frames import RawCall
from lightning_diag.slots import Tape


@dataclass(slots=True)
class Waiting:
    """What waits to be counted; a plain object, because attributes of a module are slow to set.

    Attributes:
        how: blank, ``zero_infinity`` and reduction of the calls, whether they came without a loss, and whether the losses of
            single steps are told apart from the calls.
        calls, lines: seen in this evaluation.
        raw: calls that are held, with copies of their tensors; losses: what they returned, copied.
        noted: sums that are known on the host.
    """

    how: tuple[int, bool, str, bool, bool]
    calls: int = 0
    lines: int = 0
    raw: list[RawCall] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    noted: Counter[str] = field(default_factory=Counter)
    numbers: Tape = field(default_factory=lambda: Tape(torch.int64))
    reals: Tape = field(default_factory=lambda: Tape(torch.float32))

    def keep(self, raw: RawCall, loss: Tensor | None, device: torch.device) -> None:
        """Copy a call to ``device``."""
        self.calls += 1
        self.lines += raw.lines
        put = self.numbers.put
        raw.targets = put(raw.targets, device)
        raw.input_lengths, raw.target_lengths = put(raw.input_lengths, device), put(raw.target_lengths, device)
        self.raw.append(raw)
        if loss is not None:
            self.losses.append(self.reals.put(loss))

    def take(self) -> tuple[list[RawCall], list[Tensor]]:
        """What is held, to be counted before the next call comes."""
        found = self.raw, self.losses
        self.raw, self.losses = [], []
        self.numbers.clear()
        self.reals.clear()
        return found
