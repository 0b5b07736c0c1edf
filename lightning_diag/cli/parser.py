"""Arguments of the commands. Only the standard library is imported here."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from lightning_diag import __version__

_EXAMPLES = """\
examples:
  lightning-diag demo                                  a resumed run that goes wrong, and its report
  lightning-diag diagnose lightning_logs/version_3     write diagnosis.md for a finished or killed run
  lightning-diag diagnose log.csv --map val_acc=top1 --n-val 29 --classes 4
  lightning-diag compare runs/*                        several runs on one page
  lightning-diag verify stage1.pt --against last.ckpt  are these weights in there?
  lightning-diag explain LD201                         what a finding means
"""


_RUN = "run folder, log file, or a folder of runs (the newest is taken)"


class _Parser(argparse.ArgumentParser):
    """Says an error in one sentence and where the usage is, instead of ten lines of usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. Usage: {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``lightning-diag``; each command sets ``run``."""
    parser = _Parser(
        prog="lightning-diag",
        description="What went wrong in a training run, how sure that is, and what to do next.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lightning-diag {__version__}")
    parser.set_defaults(run=_usage(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (_demo, _diagnose, _compare, _verify, _stopping, _html, _explain, _schema):
        add(commands)
    return parser


_Commands = argparse._SubParsersAction  # noqa: SLF001  (argparse has no public name for it)


def _command(commands: _Commands[_Parser], name: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")
    )
    command.set_defaults(run=_later(name))
    return command


def _usage(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """What ``lightning-diag`` alone does: it says what there is."""

    def run(options: argparse.Namespace) -> int:  # noqa: ARG001  (every command takes its options)
        parser.print_help()
        return 2

    return run


def _later(name: str) -> Callable[[argparse.Namespace], int]:
    """The command's function, imported when it is called."""

    def run(options: argparse.Namespace) -> int:
        code: int = import_module(f"lightning_diag.cli.{name}").run(options)
        return code

    return run


def _demo(commands: _Commands[_Parser]) -> None:
    command = _command(commands, "demo", "train a small network, mostly one that goes wrong, and write its report")
    command.add_argument("name", nargs="?", default="overfitting", help="overfitting (default), ctc or healthy")
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the report (default: lightning_diag_demo/NAME)"
    )


def _diagnose(commands: _Commands[_Parser]) -> None:
    command = _command(
        commands, "diagnose", "write the report of a run, from its record or from the log of another tool"
    )
    command.add_argument("path", type=Path, metavar="RUN", help=_RUN)
    _add_reading(command)
    command.add_argument("--out", metavar="DIR", help="folder of the report; '-' prints it (default: beside the log)")
    command.add_argument("--no-figures", action="store_true", help="text only")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="CODE.FIELD=VALUE",
        help="threshold of a rule, for example LD201.rise=0.3 (repeat it)",
    )
    command.add_argument("--config", type=Path, metavar="YAML", help="thresholds as code: {field: value}")
    command.add_argument("--fail-on", choices=("error", "warning"), help="exit with 1 when there is such a finding")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _compare(commands: _Commands[_Parser]) -> None:
    command = _command(commands, "compare", "put several runs on one page: which differences are established")
    command.add_argument(
        "paths", nargs="+", type=Path, metavar="RUN", help="run folders, log files, or folders of runs"
    )
    _add_reading(command)
    command.add_argument(
        "--out", metavar="DIR", default=".", help="folder of comparison.md; '-' prints it (default: here)"
    )
    command.add_argument("--no-figures", action="store_true", help="text only")
    command.add_argument("--folds", action="store_true", help="the runs are folds: mean and interval over them")


def _verify(commands: _Commands[_Parser]) -> None:
    command = _command(
        commands,
        "verify",
        "are the weights of one checkpoint in another one? Exit code 0: yes; 1: not, not all, or no telling; 2: a file is unreadable",
    )
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the weights that should be in")
    command.add_argument(
        "--against",
        type=Path,
        required=True,
        metavar="OTHER",
        help="the file that should hold them, saved before it was trained on",
    )
    command.add_argument("--module", metavar="NAME", help="part of OTHER to compare, for example encoder")
    command.add_argument("--key", metavar="NAME", help="state dict inside CHECKPOINT")


def _stopping(commands: _Commands[_Parser]) -> None:
    command = _command(commands, "stopping", "where would adaptive early stopping have stopped this run?")
    command.add_argument("path", type=Path, metavar="RUN", help=_RUN)
    _add_reading(command)


def _html(commands: _Commands[_Parser]) -> None:
    command = _command(commands, "html", "write the report as one self-contained HTML page")
    command.add_argument("path", type=Path, metavar="RUN", help=_RUN)
    _add_reading(command)
    command.add_argument(
        "--out", type=Path, metavar="PATH", help="the page, or its folder (default: diagnosis.html beside the log)"
    )


def _explain(commands: _Commands[_Parser]) -> None:
    command = _command(commands, "explain", "what a finding means, how it is found, and what to do")
    command.add_argument(
        "code", nargs="?", metavar="CODE", help="LD201 or overfitting; without it all rules are listed"
    )


def _schema(commands: _Commands[_Parser]) -> None:
    _command(commands, "schema", "print the JSON schema of diagnosis.json")


def _add_reading(command: argparse.ArgumentParser) -> None:
    """What the user may have to say about the log of another tool."""
    group = command.add_argument_group("where the log does not say it")
    group.add_argument(
        "--map", action="append", default=[], metavar="SIGNAL=COLUMN", help="for example val_acc=top1 (repeat it)"
    )
    group.add_argument(
        "--n-val", type=_size, metavar="N", help="samples in the validation set: makes accuracies counts"
    )
    group.add_argument("--n-train", type=_size, metavar="N", help="samples in the training set")
    group.add_argument("--classes", type=_size, metavar="N", help="number of classes")
    group.add_argument("--target", type=_value, metavar="VALUE", help="what the run should reach, for example 0.82")
    group.add_argument("--baseline", metavar="K/N", help="where a resumed run started from: 21/29 correct, or a value")


def _value(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number such as 0.82, got {text!r}")
    return value


def _size(text: str) -> int:
    try:
        value = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        value = 0
    if not 1 <= value < 2**53:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value
