"""What both stages of a CTC run know about its set-up, as one."""

from __future__ import annotations

from lightning_diag.history import CTCFacts


def merge_facts(train: CTCFacts | None, val: CTCFacts | None) -> CTCFacts | None:
    """Facts of both stages as one: the set-up from training, what was decoded from validation."""
    if train is None or val is None:
        return train or val
    base, other = (train, val) if train.blank is not None else (val, train)
    known = {word for word, _ in base.checks}
    extra = tuple((word, text) for word, text in other.checks if word not in known)
    return CTCFacts(
        blank=base.blank,
        classes=base.classes,
        decoder_blank=base.decoder_blank,
        trivial_loss=base.trivial_loss,
        checks=base.checks + extra,
        infeasible=base.infeasible,
        blank_in_targets=base.blank_in_targets,
        out_of_range=base.out_of_range,
        zero_infinity=base.zero_infinity,
        never_emitted=val.never_emitted,
        confused_tokens=val.confused_tokens,
        mapping=val.mapping,
    )
