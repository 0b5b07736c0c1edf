"""A rule by the code or the name that a user writes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

_CODE = re.compile(r"LD\d+")


def code_of(text: str, names: Mapping[str, str]) -> str | None:
    """The code of the rule called ``text``, in any case, with spaces or dashes; None where there is none.

    Args:
        text: a code or a name.
        names: code -> name.
    """
    return _words(names).get(_word(text))


def nearest(text: str, names: Mapping[str, str]) -> str:
    """``did you mean LD201 (overfitting)?`` and where all codes are; another code is no guess for a code."""
    words = _words(names)
    near = [] if _CODE.fullmatch(_word(text)) else difflib.get_close_matches(_word(text), words, n=2, cutoff=0.7)
    codes = dict.fromkeys(words[word] for word in near)
    guess = " or ".join(f"{code} ({names[code]})" for code in codes)
    every = "all codes: lightning-diag explain"
    return f"did you mean {guess}? {every[0].upper()}{every[1:]}" if guess else every


def _words(names: Mapping[str, str]) -> dict[str, str]:
    return {code: code for code in names} | {_word(name): code for code, name in names.items()}


def _word(text: str) -> str:
    return text.upper().replace("_", "-").replace(" ", "-")
