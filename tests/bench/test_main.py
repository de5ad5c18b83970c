import pytest
from typer.testing import CliRunner

from bench.main import app


@pytest.mark.parametrize("command", ["fanout", "publish", "subscribe", "connections", "post"])
def test_each_bench_says_what_it_measures(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["fanout", "--sockets", "0"],
        ["publish", "--size", "5"],
        ["connections", "--count", "1"],
        ["post", "--sockets", "0"],
        ["subscribe", "--pending", "250001"],
    ],
)
def test_a_setting_out_of_bounds_is_refused_before_anything_starts(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2
