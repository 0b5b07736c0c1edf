"""Names of sample groups (a demographic, a writer, a site) as indices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MAX_GROUPS = 64
"""Groups that are counted when their names were not given beforehand."""


class Groups:
    """Maps group names to indices.

    Args:
        names: all names. Needed under distributed training, where ranks must agree on the order; without them the
            first :data:`MAX_GROUPS` names that come are counted.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self._fixed = bool(names)

    @property
    def room(self) -> int:
        """How many groups can be counted."""
        return len(self.names) if self._fixed else MAX_GROUPS

    def ids(self, groups: Sequence[str] | Tensor, device: torch.device) -> Tensor:
        """Index of each sample's group, -1 for a group that is not counted."""
        if isinstance(groups, Tensor):
            return groups.detach().reshape(-1).long().clone()
        if not self._fixed:
            new = [g for g in dict.fromkeys(map(str, groups)) if g not in self.names]
            self.names += new[: MAX_GROUPS - len(self.names)]
        index = {name: i for i, name in enumerate(self.names)}
        ids = torch.tensor([index.get(str(g), -1) for g in groups], dtype=torch.int64)
        return ids.to(device, non_blocking=True)
