"""The mapping test: does another numbering of the tokens explain the validation errors?"""

from __future__ import annotations

from lightning_diag.history import RunHistory
from lightning_diag.rules.ctc_common import Look, facts

ALPHA = 0.005
"""Chance that output which says nothing about its lines passes the test. It is the smallest p-value of 199 shuffles."""
RENUMBERED = 0.75
"""Share of what the output says about its lines that it must say under other numbers. In simulated output every other numbering
gave 0.80 to 1.00 (10 to 2,000 tokens, 20 to 200 lines), right numberings at most 0.58, even where a model confuses most tokens
always with the same other one; half of the tokens renumbered gave 0.34 to 0.50, which is not told from such a model."""

READ = 0.2
"""Share of the errors of unrelated output that the map must remove. Numberings that differ gave 0.3 to 0.9 with as few as 40 lines
for 100 tokens; 60 lines memorised with shuffled targets 0.05: lines that look alike were given some tokens more often."""


def mapping_mends(history: RunHistory) -> bool:
    """Whether a map of the tokens, learnt on other validation lines, reads what the output says."""
    test = facts(history).mapping
    if test is None or test.chance is None or test.p_value > ALPHA:
        return False
    return test.renumbered >= RENUMBERED and test.after <= (1 - READ) * test.chance


def looks_renumbered(look: Look) -> bool:
    """As many tokens as in the references, but others: substitutions, hardly any deletions or insertions."""
    emitted, wrong = look.val("emit_ratio"), look.val("ter")
    swaps, missing, added = look.val("sub"), look.val("del"), look.val("ins")
    if emitted is None or wrong is None or swaps is None or missing is None or added is None:
        return False
    return 0.8 < emitted < 1.25 and wrong > 0.4 and swaps > 3 * (missing + added)
