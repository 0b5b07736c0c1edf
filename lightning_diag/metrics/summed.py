"""A metric whose ranks are merged by one summed vector instead of a gather of every state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchmetrics import Metric

Reduce = Callable[[Tensor], Tensor]


class FlushedMetric(Metric):
    """A metric in which batches wait to be counted; an evaluation without a batch is an answer too."""

    @abstractmethod
    def flush(self) -> None:
        """Count what waits to be counted."""

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Sum, compute, restore; torchmetrics' own wrapper takes no frozen dataclass and warns where nothing was counted."""

        def run() -> Any:
            self.flush()
            with self.sync_context(
                dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
            ):
                return compute()

        return run


class SummedMetric(FlushedMetric):
    """Memory per rank and bytes per epoch do not grow with the number of ranks.

    Attributes:
        collectives: collective calls made so far.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.collectives = 0

    @abstractmethod
    def agree(self, reduce_max: Reduce) -> None:
        """Agree on the layout of the vector; ``reduce_max`` returns the maximum over the ranks, same on each."""

    @abstractmethod
    def packed(self) -> Tensor:
        """All that ranks have to sum, as one vector."""

    @abstractmethod
    def load_packed(self, vector: Tensor) -> None:
        """Take the summed vector of all ranks as the state."""

    def reduce(self, reduce_sum: Reduce) -> None:
        """Sum the state over the ranks with exactly one collective.

        Args:
            reduce_sum: takes a vector and returns its sum over all ranks (same on each rank).
        """
        vector = reduce_sum(self.packed())
        self.collectives += 1
        self.load_packed(vector)

    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:  # noqa: ARG002  (Metric's signature)
        from torch import distributed

        def reduce_with(op: Any) -> Reduce:
            def run(vector: Tensor) -> Tensor:
                distributed.all_reduce(vector, op=op, group=process_group or self.process_group)
                return vector

            return run

        self.flush()
        self.agree(reduce_with(distributed.ReduceOp.MAX))
        self._cache = self._copy_state_dict()  # what unsync restores must have the layout that was agreed
        self.reduce(reduce_with(distributed.ReduceOp.SUM))
