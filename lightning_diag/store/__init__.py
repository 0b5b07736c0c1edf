"""RunHistory to JSON lines and back.

``history.jsonl`` is appended to while a run goes on, one line per write, so that a killed process loses nothing::

    {"type":"context","version":1, ...}      what is known about the run; the last one wins
    {"type":"epoch","version":1, ...}        one validation interval

Fields at their default are left out. Per-class rows and matrices are columns of integers in a string, because a JSON
parser passes over a string a hundred times faster than over a list of small objects, and most of them are thinned away in
a long run. NaN and infinities are the strings ``NaN``, ``Infinity`` and ``-Infinity``, so that every line is valid JSON.

A run that starts again in the same folder appends too. Its first epoch discards the recorded epochs at or after it: what
a resumed run repeats counts once, a fresh run replaces the older one.
"""

from __future__ import annotations

from lightning_diag.store.reading import lines_to_history, read_history
from lightning_diag.store.writing import append_context, append_epoch, history_to_lines

__all__ = ["append_context", "append_epoch", "history_to_lines", "lines_to_history", "read_history"]
