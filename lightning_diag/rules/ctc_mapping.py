"""The mapping test: does another numbering of the tokens explain the validation errors?"""

from __future__ import annotations

from lightning_diag.history import RunHistory
from lightning_diag.rules.ctc_common import Look, facts, looks

MENDED = 0.5
"""The map must remove half of the errors and leave fewer than half: another numbering went from 0.95 to 0.04 and from 0.69
to 0.04, memorised lines from 0.88 to 0.84, 100 tokens on 200 lines stayed at 1.00."""


def mapping_mends(history: RunHistory) -> bool:
    """Whether a map of the tokens, learnt on one half of the validation lines, mends the other half."""
    after, every = facts(history).mapping_ter, looks(history)
    before = every[-1].val("ter") if every else None
    return after is not None and before is not None and after < MENDED * before and after < MENDED


def looks_renumbered(look: Look) -> bool:
    """As many tokens as in the references, but others: substitutions, hardly any deletions or insertions."""
    emitted, wrong = look.val("emit_ratio"), look.val("ter")
    swaps, missing, added = look.val("sub"), look.val("del"), look.val("ins")
    if emitted is None or wrong is None or swaps is None or missing is None or added is None:
        return False
    return 0.8 < emitted < 1.25 and wrong > 0.4 and swaps > 3 * (missing + added)
