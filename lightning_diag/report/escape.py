"""Text from a run made safe where it is written: Markdown cells and prose, HTML is left to jinja2's autoescape.

Two kinds of text reach a report. *Prose* is written by this library (a finding's summary, an advice); it may hold code
spans in backticks, and names from the run inside its sentences. A *name* is the user's own text (a class name, a path,
an error message) and means nothing but itself. Both come out on one line, with invisible characters made visible, and
neither can end a cell, open a tag, a link or an emphasis.
"""

from __future__ import annotations

import re
import unicodedata

NAME_WIDTH = 40
"""Characters of a name in a table; longer ones lose their middle. A line of a report stays readable up to here."""

PROSE_WIDTH = 3000
"""Characters of a paragraph; a finding needs a tenth of it, a class name of a million characters inside one does not fit."""

_CODE_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_CALL = re.compile(r"(?<![\w`.])([A-Za-z_][\w.]*\((?:[^()`\n]*(?:=|\.\.\.)[^()`\n]*)?\)(?!\w))")
"""A call such as ``trainer.fit(..., ckpt_path=...)``: shown as code where the author set no code spans."""
_SPACE = re.compile(r"[ \xa0]*[\r\n\t\v\f\x85\u2028\u2029]+[ \xa0]*")
_ACTIVE = re.compile(r"[\\`*|~]|(?<![^\W_])_|_(?![^\W_])|<(?=[\w/!?&])|\](?=\()|&(?=#?\w+;)|!(?=\[)|\$(?=\S)")
_NAME_ACTIVE = re.compile(r"[\\`*|~<>\[\]$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|!(?=\[)")
_LINE_START = re.compile(r"^(\s*)([#>+=[-]|\d+(?=[.)]\s))")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "$": "&#36;"}
_INVISIBLE = frozenset("\u200b\u2060\ufeff\u00ad\u034f\u061c\u180e\u115f\u1160\u3164")


class Name(str):
    """The user's own text: escaped whole, backticks included."""

    __slots__ = ()


def visible(text: str) -> str:
    """``text`` on one line: line breaks and tabs become one space, other control, bidi and invisible characters a code.

    A right-to-left override would show ``exe.txt`` for ``txt.exe``, a lone surrogate cannot be encoded, a terminal
    escape sequence acts when the report is printed: each becomes ``⟨U+202E⟩``, so that nothing is hidden.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _shows(c) else f"⟨U+{ord(c):04X}⟩" for c in _SPACE.sub(" ", text))


def _shows(char: str) -> bool:
    if char in _INVISIBLE:
        return False
    return unicodedata.category(char) not in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"} and not _steers(char)


def _steers(char: str) -> bool:
    """Whether the character changes the direction of its neighbours (joiners, category Cf too, are needed in words)."""
    return unicodedata.category(char) == "Cf" and char not in "\u200c\u200d"


def shorten(text: str, width: int = NAME_WIDTH) -> str:
    """``text`` cut in its middle to ``width`` characters; the start and the end tell names apart best."""
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head].rstrip()}…{text[len(text) - (width - 1 - head) :].lstrip()}"


def name(text: object, width: int = NAME_WIDTH) -> Name:
    """A name for a cell: visible, on one line, at most ``width`` characters."""
    return Name(shorten(visible(_clip(str(text), 8 * width)).strip(), width) or "(empty)")


def _clip(text: str, width: int) -> str:
    """Bound the work on a name of a million characters before looking at each."""
    return text if len(text) <= width else text[: width // 2] + "…" + text[-width // 2 :]


def quoted(text: object, width: int = NAME_WIDTH) -> str:
    """A name for the middle of a sentence, as a code span (its own backticks become apostrophes)."""
    shown = name(text, width).replace("`", "'")
    return f"`{shown}`"


def markdown(text: str) -> str:
    """Prose or a :class:`Name` as Markdown that shows exactly these characters; code spans of prose stay code."""
    return _guard_start(_inline(text, bar="|"))


def cell(text: str) -> str:
    r"""Text for a cell of a pipe table: as :func:`markdown`, with ``\|`` also inside a code span, as tables demand."""
    return _inline(text, bar="\\|")


def _inline(text: str, bar: str) -> str:
    line = _line(text)
    if isinstance(text, Name):
        return _NAME_ACTIVE.sub(_escape, line)
    parts = _code_spans(line)
    return "".join(
        f"`{part.replace('|', bar)}`" if i % 2 else _ACTIVE.sub(_escape, part) for i, part in enumerate(parts)
    )


def _code_spans(line: str) -> list[str]:
    """``line`` cut at its code: every second part is code."""
    return (_CODE_SPAN if "`" in line else _CALL).split(line)


def _line(text: str) -> str:
    return shorten(visible(_clip(text, 4 * PROSE_WIDTH)).strip(), PROSE_WIDTH)


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    return _ENTITIES.get(char) or f"\\{char}"


def _guard_start(line: str) -> str:
    """A line that starts with ``#`` or ``1.`` is a heading or a list; escape that mark."""
    return _LINE_START.sub(lambda m: f"{m[1]}{m[2]}\\" if m[2].isdigit() else f"{m[1]}\\{m[2]}", line)


def prose_parts(text: str) -> list[tuple[bool, str]]:
    """``text`` as (is code, part) pairs, for a renderer that escapes by itself."""
    line = _line(text)
    if isinstance(text, Name):
        return [(False, line)]
    return [(bool(i % 2), part) for i, part in enumerate(_code_spans(line)) if part]
