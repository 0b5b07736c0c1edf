"""``lightning-diag explain``."""

from __future__ import annotations

import argparse
import re
from importlib.resources import files
from pathlib import Path

from lightning_diag.cli.reading import say
from lightning_diag.errors import ConfigError
from lightning_diag.rules import RULES
from lightning_diag.rules.lookup import code_of, nearest


def run(options: argparse.Namespace) -> int:
    """Print the page of a rule, or the list of all.

    Raises:
        ConfigError: there is no such rule.
    """
    if options.code is None:
        say("\n".join(f"{rule.code}  {rule.name}" for rule in sorted(RULES, key=lambda rule: rule.code)))
    else:
        say(plain(page(_code(options.code))))
    return 0


def page(code: str) -> str:
    """The page of rule ``code``, from the installed package or from a checkout.

    Raises:
        ConfigError: there is no page.
    """
    checkout = Path(__file__).parents[2] / "docs" / "rules"
    for place in (files("lightning_diag.rules") / "pages", checkout):
        found = place / f"{code}.md"
        if found.is_file():
            return found.read_text(encoding="utf-8").rstrip()
    raise ConfigError(f"there is no page for {code}; the list of rules: lightning-diag explain")


def plain(text: str) -> str:
    """A page for the terminal: without the examples that its tests run, and with links that a terminal cannot follow as text."""
    explained = text.partition("\n## Fires\n")[0].rstrip()
    return _LINK.sub(lambda link: f"{link[1]} ({link[2]})" if link[2] not in link[1] else link[1], explained)


_LINK = re.compile(r"\[([^\]]+)\]\((?:[\w./-]*/)?([\w-]+)\.md(?:#[\w-]+)?\)")
"""A link to another page: its text and the name of the page."""


def _code(text: str) -> str:
    """The code of a rule given by code or name."""
    names = {rule.code: rule.name for rule in RULES}
    code = code_of(text, names)
    if code is None:
        raise ConfigError(f"there is no rule {text!r}; {nearest(text, names)}")
    return code
