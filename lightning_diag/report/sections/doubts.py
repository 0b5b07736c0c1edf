"""What people would read out of the curves and the data do not carry."""

from __future__ import annotations

from lightning_diag.report.document import Block, Bullets, Item
from lightning_diag.report.sections.causes import sentence
from lightning_diag.report.view import View


def not_established(view: View) -> tuple[Block, ...]:
    """One entry per claim: why the data cannot tell, and what would."""
    items = tuple(
        Item(lead=sentence(doubt.claim), text=" ".join(sentence(t) for t in (doubt.reason, doubt.needed) if t))
        for doubt in view.diagnosis.not_established
    )
    return (Bullets(items=items),) if items else ()
