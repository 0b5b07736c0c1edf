"""Chances of counts: tails of the binomial, the Poisson and the hypergeometric distribution.

By ``scipy.special``: ``scipy.stats`` takes longer to import than most runs to judge.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def at_least(k: int, n: int, rate: float) -> float:
    """Chance of ``k`` or more of ``n``: the regularised incomplete beta function (DLMF 8.17.5)."""
    from scipy.special import betainc

    return float(betainc(k, n - k + 1, rate)) if k else 1.0


def poisson_at_least(k: int, mean: float) -> float:
    """Chance of ``k`` or more of what happens ``mean`` times: the regularised incomplete gamma function (DLMF 8.2.4)."""
    from scipy.special import gammainc

    return float(gammainc(k, mean)) if k else 1.0


def drawn_at_least(total: int, support: int, predicted: int, correct: int) -> float:
    """Chance of ``correct`` or more of ``support`` marked ones among ``predicted`` that are drawn from ``total``."""
    least, chances = _hypergeometric(total, support, predicted)
    return min(1.0, float(chances[max(0, correct - least) :].sum()))


def drawn_as_rare(total: int, marked: int, drawn: int, seen: int) -> float:
    """Chance of a number of marked ones among the drawn that is as improbable as ``seen``, or more so."""
    least, chances = _hypergeometric(total, marked, drawn)
    as_rare = chances <= chances[seen - least] * (1 + 1e-7)  # equal chances differ in their last digits
    return min(1.0, float(chances[as_rare].sum()))


def _hypergeometric(total: int, marked: int, drawn: int) -> tuple[int, NDArray[np.float64]]:
    """(smallest possible number of marked ones among the drawn, chance of this and of each larger one)."""
    import numpy as np
    from scipy.special import gammaln

    least = max(0, drawn + marked - total)
    k = np.arange(least, min(drawn, marked) + 1, dtype=np.float64)
    ways = -sum(gammaln(part + 1) for part in (k, marked - k, drawn - k, total - marked - drawn + k))
    chances: NDArray[np.float64] = np.exp(ways - ways.max())
    return least, chances / chances.sum()


def drawn_by_chance(total: int, support: int, predicted: int, correct: int) -> float:
    """Upper bound of the hypergeometric probability of so many hits or more (Hoeffding 1963, theorem 4 with Chernoff's).

    Among more than a million samples the bound is as clear as the sum, which SciPy makes term by term: a minute and
    gigabytes for 3·10⁹ samples.
    """
    rate, seen = support / total, correct / predicted
    if seen <= rate:
        return 1.0
    rest = (1 - seen) * math.log((1 - seen) / (1 - rate)) if seen < 1 else 0.0
    return math.exp(-predicted * (seen * math.log(seen / rate) + rest))
