"""Speaking to whoever typed the command: results on standard output, everything else on standard error."""

import sys
from typing import NoReturn

import typer

FAILED = 1
"""Something was refused, lost or unreachable."""
MISUSED = 2
"""The command line or the configuration does not hold; nothing was tried."""
INTERRUPTED = 130
"""Ended by Ctrl-C, as shells count it."""


def note(text: str) -> None:
    """Say something beside the result."""
    print(text, file=sys.stderr, flush=True)


def fail(text: str, status: int = FAILED) -> NoReturn:
    """End the command with a sentence on standard error."""
    note(f"headrace: {text}")
    raise typer.Exit(status)
