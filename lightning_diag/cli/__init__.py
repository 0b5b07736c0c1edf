"""The command line ``lightning-diag``.

The parser alone is imported here, so that ``--help`` answers at once; each command loads what it needs. Nothing but
``demo`` and ``verify`` loads torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lightning_diag.cli.parser import build_parser
from lightning_diag.errors import DiagError
from lightning_diag.garbage import without_collections


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        the exit code: 0, 1 where a command answers *no* (``verify``, ``diagnose --fail-on``), 2 for an error, 130 for
        Ctrl-C.
    """
    options = build_parser().parse_args(argv)
    try:
        with without_collections():  # a command is short, and a long record has a million objects to walk over
            code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output went away (``| head``)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except DiagError as error:
        return _fail(str(error))
    except ImportError as error:
        return _fail(f"{error}. Install what this command needs: pip install 'lightning-diag[demo,readers]'")
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        return 130
    return code


def _fail(message: str) -> int:
    print(f"lightning-diag: {message}", file=sys.stderr)  # noqa: T201  (a command line prints)
    return 2
