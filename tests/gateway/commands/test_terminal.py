"""Results on standard output, everything else on standard error."""

import pytest
import typer

from gateway.commands.terminal import FAILED, MISUSED, fail, note


def test_notes_leave_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    note("connected")

    assert capsys.readouterr() == ("", "connected\n")


@pytest.mark.parametrize("status", [FAILED, MISUSED])
def test_a_failure_says_why_and_ends_with_its_status(capsys: pytest.CaptureFixture[str], status: int) -> None:
    with pytest.raises(typer.Exit) as ended:
        fail("no such topic", status)

    assert ended.value.exit_code == status
    assert capsys.readouterr() == ("", "headrace: no such topic\n")
