"""Training steps that differ from the one before in nothing but values: counted with nothing in between, or passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_diag.callbacks.collector import StageCollector
    from lightning_diag.callbacks.run import Run
    from lightning_diag.callbacks.step_losses import StepLosses


class ShortWay:
    """What the capture calls in place of the parts, see :class:`lightning_diag.capture.observation.Again`.

    Args:
        run: the fit. collector: of training. losses: of the training steps.
        returned: whether the steps return just the loss of the call that is read.
        count, keep: see ``StageCollector.expecting``.
    """

    __slots__ = ("_collector", "_count", "_keep", "_losses", "_returned", "_run", "_turn", "left")

    def __init__(
        self,
        run: Run,
        collector: StageCollector,
        losses: StepLosses,
        *,
        returned: bool,
        count: Callable[[tuple[Tensor, ...], Tensor], bool],
        keep: Callable[[Tensor, float | None], None],
    ) -> None:
        self.left = 0
        self._run, self._collector, self._losses = run, collector, losses
        self._returned, self._count, self._keep = returned, count, keep
        self._turn = run.turn

    def read(self, tensors: tuple[Tensor, ...], loss: Tensor, result: object, batch: object, *, returned: bool) -> bool:
        """Count a step; the last of an epoch is never passed over, because its batch may be smaller."""
        run, rest = self._run, self._run.rest
        if rest == 1 or run.turn != self._turn or returned is not self._returned or not self._count(tensors, loss):
            return False
        collector = self._collector
        collector.steps += 1
        if not returned and (step_loss := returned_loss(result)) is not None:
            self._losses.add(step_loss)
        if run.along is not None:
            run.along(batch, tensors[1])
        left = collector.enough_for() if collector.every > 1 else 0
        if left:
            left = self.left = int(max(0, min(left, rest - 2 if rest else left, run.batches_left - 1)))
        run.rest = rest and rest - 1 - left
        return True

    def pass_over(self, result: object) -> None:
        """Take of a step nothing but the loss that it returned."""
        self._collector.pass_over()
        loss = returned_loss(result)
        if loss is None:
            return
        if self._returned:
            self._keep(loss, None)
        else:
            self._losses.add(loss)


def returned_loss(result: object) -> Tensor | None:
    """The loss that a step returned, one element, detached; None where it returned none."""
    loss = result.get("loss") if isinstance(result, dict) else result
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point():
        return loss.detach()
    return None
