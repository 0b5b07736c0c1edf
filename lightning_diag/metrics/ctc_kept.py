"""Decoded lines of an evaluation: kept on the device, copied to the host once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_diag.metrics.ctc_edits import Decoded, TokenErrors
from lightning_diag.metrics.ctc_frames import NOTHING, CTCCall, rows_of
from lightning_diag.slots import Tape

SPILL_NUMBERS = 16_000_000
"""Numbers kept on the device before decoded lines are copied to the host: 64 MB. Below it a step never waits."""


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Lines of one step: hypotheses (n, T) and references (n, S), padded; lines lie ``step`` apart, from ``first``."""

    first: int
    step: int
    hypotheses: Tensor
    references: Tensor
    frames: Tensor

    @property
    def numbers(self) -> int:
        """Numbers it holds."""
        return self.hypotheses.numel() + self.references.numel()


class KeptLines:
    """Lines whose token errors will be counted at the end of the evaluation.

    Args:
        most: lines kept, the last ones; None keeps all and copies to the host when they grow large.
    """

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.errors = TokenErrors()
        self.decoded: list[Decoded] = []
        self._chunks: deque[_Chunk] = deque()
        self._lines = self._numbers = 0
        self._tape = Tape(torch.int32)

    def add(self, first: int, step: int, hypotheses: Tensor, call: CTCCall) -> None:
        """Keep the lines of a step; drop the oldest beyond the bound."""
        put = self._tape.put
        chunk = _Chunk(
            first=first,
            step=step,
            hypotheses=put(hypotheses),
            references=put(call.targets),
            frames=put(call.input_lengths),
        )
        self._chunks.append(chunk)
        self._lines += call.lines
        self._numbers += chunk.numbers
        if self.most is None:
            if self._numbers > SPILL_NUMBERS:
                self.decode()
            return
        while self._lines - len(self._chunks[0].frames) >= self.most:
            old = self._chunks.popleft()
            self._lines -= len(old.frames)

    def decode(self) -> list[Decoded]:
        """Copy what is kept to the host and count its token errors; returns all lines decoded so far."""
        for chunk in self._chunks:
            pairs = zip(rows_of(chunk.references), rows_of(chunk.hypotheses), strict=True)
            for i, (reference, hypothesis) in enumerate(pairs):
                index = chunk.first + chunk.step * i
                line = Decoded(index=index, reference=tuple(reference), hypothesis=tuple(hypothesis))
                self.errors.add(line)
                self.decoded.append(line)
        self._chunks.clear()
        self._tape.clear()
        self._lines = self._numbers = 0
        return self.decoded

    def state(self) -> dict[str, Any]:
        """What is kept, as plain values and tensors; of a hypothesis the tokens, without the frames between."""
        return {
            "chunks": [
                {
                    "first": chunk.first,
                    "step": chunk.step,
                    "hypotheses": _packed(rows_of(chunk.hypotheses)).to(torch.int32),
                    "references": chunk.references.cpu(),
                    "frames": chunk.frames.cpu(),
                }
                for chunk in self._chunks
            ]
        }

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`; nothing is kept yet."""
        self._chunks.extend(_Chunk(**chunk) for chunk in state["chunks"])
        self._lines = sum(len(chunk.frames) for chunk in self._chunks)
        self._numbers = sum(chunk.numbers for chunk in self._chunks)

    def labels(self, most: int) -> tuple[list[list[int]], list[int]]:
        """Tokens and frames of up to ``most`` lines that are not decoded yet; copies to the host."""
        targets: list[list[int]] = []
        frames: list[int] = []
        for chunk in self._chunks:
            if len(targets) < most:
                targets += rows_of(chunk.references)
                frames += chunk.frames.tolist()
        return targets[:most], frames[:most]


def _packed(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows as a matrix, padded at their ends."""
    width = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[NOTHING] * (width - len(row))] for row in rows]).reshape(len(rows), width)
