"""What the rules on pretrained weights ask of the facts."""

from __future__ import annotations

from lightning_diag.findings import Evidence
from lightning_diag.history import PretrainFacts, RunHistory
from lightning_diag.rules.base import CannotTellError
from lightning_diag.words import listed, number, percent

IN = frozenset({"loaded", "partly loaded", "loaded, since trained or rounded", "checkpoint untrained"})
"""Verdicts after which weights of the checkpoint are in the module."""


def judged(history: RunHistory) -> PretrainFacts:
    """The verdict on pretrained weights, when there is one.

    Raises:
        CannotTellError: it was not reached, with the verifier's own reason.
    """
    facts = history.context.pretrain
    if facts is None or not facts.checkpoint:
        raise CannotTellError(_without_checkpoint(history))
    if facts.provisional:
        raise CannotTellError("training ended before the first update, when weights could still be loaded")
    if facts.verdict in {"cannot tell", "resumed"}:
        raise CannotTellError(facts.reason.rstrip(".") or facts.verdict)
    return facts


def _without_checkpoint(history: RunHistory) -> str:
    look = {
        True: "; the weights at the start look as an initialiser leaves them",
        False: "; the weights at the start do not look as an initialiser leaves them, so something was loaded",
        None: "",
    }[history.context.model.looks_fresh]
    return f"no checkpoint was named (add PretrainLoadVerifier(checkpoint=...)){look}"


def begun(history: RunHistory) -> bool:
    """Whether the fit went on from trained weights: a checkpoint that arrived, a resume, or norms no initialiser leaves."""
    facts, context = history.context.pretrain, history.context
    loaded = facts is not None and facts.verdict in IN - {"checkpoint untrained"}
    return loaded or context.resumed_epoch is not None or context.model.looks_fresh is False


def share_evidence(facts: PretrainFacts) -> Evidence:
    """Share of the weights that equal the checkpoint, with what names and directions say."""
    parts = [
        f"{percent(facts.equal or 0.0)} of {facts.parameters or 0:,} weights of {where(facts)} equal the checkpoint"
    ]
    parts += [f"names align {percent(facts.aligned)}"] if facts.aligned is not None else []
    parts += [f"cosine {number(round(facts.cosine, 3) + 0.0)}"] if facts.cosine is not None else []
    return Evidence(signal="pretrain.equal", text=", ".join(parts), observed=facts.equal or 0.0, expected=1.0)


def block_evidence(facts: PretrainFacts) -> tuple[Evidence, ...]:
    """The blocks that do not equal the checkpoint."""
    lacking = [block for block in facts.blocks if block.equal < 0.5]
    if not lacking or len(lacking) == len(facts.blocks):
        return ()
    names = listed([block.block for block in lacking])
    text = f"{len(lacking)} of {len(facts.blocks)} blocks differ: {names}"
    return (Evidence(signal="pretrain.blocks", text=text, observed=float(len(lacking)), expected=0.0),)


def where(facts: PretrainFacts) -> str:
    """The module in words."""
    return facts.module or "the module"


def load_action(facts: PretrainFacts) -> str:
    """What to do first: the line that was tried, else how to look."""
    if facts.fix:
        return f"load with `{facts.fix}`, after everything that initialises the module"
    return "print `missing_keys` and `unexpected_keys` of `load_state_dict`, and compare the names in both files"
