"""The progress display says what is stored and what is still in flight."""

import io

import pytest
from rich.console import Console

from gateway.commands.progress import Display
from gateway.commands.publishing import Tally


@pytest.mark.parametrize("total", [None, 1000])
def test_it_shows_counts_with_and_without_a_known_size(total: int | None) -> None:
    screen = io.StringIO()
    with Display(total, console=Console(file=screen, force_terminal=True, width=100)) as display:
        display.show(Tally(sent=7, bytes=70, stored=4, failed=1))

    assert "4 stored, 2 in flight" in screen.getvalue()
