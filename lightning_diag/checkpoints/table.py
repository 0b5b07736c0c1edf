"""A verdict as a table of plain text, for the command line and for a terminal."""

from __future__ import annotations

from lightning_diag.checkpoints.verdict import amount, percent
from lightning_diag.history import PretrainFacts

GOOD = frozenset({"loaded", "loaded, since trained or rounded", "resumed"})
"""Verdicts with exit code 0."""


def comparison_table(facts: PretrainFacts, against: str = "") -> str:
    """Verdict and reason, one line per block, the fix; ready to print.

    Args:
        facts: of :func:`verify_files` or :class:`LoadVerification`.
        against: the other file, where there is one.
    """
    lines = [f"verdict     {facts.verdict}", f"checkpoint  {_source(facts)}"]
    lines += [f"against     {against}"] if against else []
    lines += [f"module      {facts.module}"] if facts.module else []
    lines += ["", *_blocks(facts), ""] if facts.blocks else [""]
    lines += [facts.reason]
    if facts.fix:
        lines += [
            "",
            "This line would load it (tried on names and shapes; `model` is the module, call it last):",
            facts.fix,
        ]
    return "\n".join(lines) + "\n"


def message(facts: PretrainFacts, *, on_not_loaded: str = "raise") -> str:
    """The verdict for a terminal, an exception or a warning: what was seen, and what to do.

    Args:
        facts: of :class:`LoadVerification`.
        on_not_loaded: what the verifier was told to do; with ``"warn"`` its message does not offer that.
    """
    head = f"Pretrained weights: {facts.verdict}" + (f" ({_source(facts)})" if facts.checkpoint else "")
    lines = [f"{head}. {facts.reason}"]
    if facts.used is False:
        lines.append(f"{facts.module or 'The module'} took no part in the first step: no forward, no gradient.")
    if facts.fix:
        lines += [
            "This line loads it (`model` is the LightningModule; call it after everything that initialises):",
            facts.fix,
        ]
    if facts.verdict == "not loaded" and on_not_loaded != "warn":
        lines.append('Meant so? PretrainLoadVerifier(on_not_loaded="warn") only reports it.')
    return "\n".join(lines)


def exit_code(facts: PretrainFacts) -> int:
    """0 when the weights are in, else 1."""
    return 0 if facts.verdict in GOOD else 1


def _source(facts: PretrainFacts) -> str:
    return f"{facts.checkpoint} [{facts.checkpoint_key}]" if facts.checkpoint_key else facts.checkpoint


def _blocks(facts: PretrainFacts) -> list[str]:
    width = max(5, *(len(block.block) for block in facts.blocks))
    rows = [f"{'block':<{width}}  {'weights':>9}  {'equal':>13}"]
    rows += [f"{b.block:<{width}}  {amount(b.parameters):>9}  {percent(b.equal):>13}" for b in facts.blocks]
    return rows
