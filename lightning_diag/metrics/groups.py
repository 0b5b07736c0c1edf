"""Names of sample groups (a demographic, a writer, a site) as indices."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_diag.metrics.summed import Reduce

MAX_GROUPS = 64
"""Groups that are counted when their names were not given beforehand."""
BUCKETS = 2**16
"""Places for names while processes exchange them (512 KiB, once): that two of 64 names meet in one has a chance of 3 %."""
NAME_BYTES = 96
"""A longer name is cut, and told from others by a number at its end."""


class Groups:
    """Maps group names to indices.

    Args:
        names: all names; without them the first :data:`MAX_GROUPS` names that come are counted.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = [_short(str(name)) for name in names]
        self._fixed = bool(names)
        self._closed = False
        self._missed: set[str] = set()

    @property
    def room(self) -> int:
        """How many groups can be counted."""
        return len(self.names) if self._fixed else MAX_GROUPS

    @property
    def missed(self) -> int:
        """How many names came, as far as they were remembered, that are not counted."""
        return len(self._missed)

    def agree(self, reduce_max: Reduce, counts: Tensor) -> int:
        """Give each name the same index on all processes; only names that some process has met by then are counted.

        Args:
            reduce_max: maximum over the processes, entry by entry.
            counts: what was counted so far, shape (kinds, groups); its columns are moved.

        Returns:
            How many collective calls were made, each of a bounded size.
        """
        if self._fixed:
            return 0
        mine = {_hash(name): name for name in self.names}
        table = torch.zeros(BUCKETS, dtype=torch.int64)
        for key in sorted(mine):
            table[key % BUCKETS] = key
        keys = [key for key in reduce_max(table.to(counts.device)).cpu().tolist() if key][:MAX_GROUPS]
        letters = torch.zeros(MAX_GROUPS, NAME_BYTES, dtype=torch.int64)
        for row, key in enumerate(keys):
            text = mine.get(key, "").encode()
            letters[row, : len(text)] = torch.tensor(list(text), dtype=torch.int64)
        whole = reduce_max(letters.to(counts.device)).cpu().tolist()
        known, self.names = self.names, sorted(_text(row) for row in whole[: len(keys)])
        index, before = {name: i for i, name in enumerate(self.names)}, counts.tolist()
        with torch.inference_mode(mode=False), torch.no_grad():
            counts.zero_()
            for old, name in enumerate(known):
                if name in index:
                    counts[:, index[name]] = torch.tensor([row[old] for row in before], device=counts.device)
        self._missed |= set(known) - set(index)
        self._closed = True
        return 2

    def ids(self, groups: Sequence[str] | Tensor, device: torch.device) -> Tensor:
        """Index of each sample's group, -1 for a group that is not counted."""
        if isinstance(groups, Tensor):
            return groups.detach().reshape(-1).long().clone()
        names = [_short(str(g)) for g in groups]
        if not (self._fixed or self._closed):
            new = [g for g in dict.fromkeys(names) if g not in self.names]
            self.names += new[: MAX_GROUPS - len(self.names)]
        index = {name: i for i, name in enumerate(self.names)}
        if self._closed and len(self._missed) < MAX_GROUPS:
            self._missed |= set(names) - set(index)
        ids = torch.tensor([index.get(name, -1) for name in names], dtype=torch.int64)
        return ids.to(device, non_blocking=True)


def _hash(name: str) -> int:
    """A number from 1 to 2**63 - 1, the same on all processes (Python's own is salted)."""
    return (int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1) | 1


def _short(name: str) -> str:
    text = name.encode(errors="replace")
    if len(text) <= NAME_BYTES:
        return text.decode()
    return f"{text[: NAME_BYTES - 24].decode(errors='ignore')}… {_hash(text.decode()) % 10**8}"


def _text(row: Sequence[int]) -> str:
    return bytes(row).rstrip(b"\0").decode(errors="ignore")
