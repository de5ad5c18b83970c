"""The words of the command line. What the commands do is tested with them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.commands.terminal import MISUSED

HEAVY = {"fastapi", "uvicorn", "httpx", "redis", "jwt", "headrace", "prometheus_client", "uvloop"}
"""What a quick command must not import."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    for name in ("HEADRACE_SERVER", "HEADRACE_TOKEN", "HEADRACE_CONFIG", "HEADRACE_DATA"):
        monkeypatch.delenv(name, raising=False)
    return CliRunner()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("words", [[], ["topics"], ["subscriptions"], ["config"]])
def test_a_group_without_a_word_shows_its_words(command: CliRunner, words: list[str]) -> None:
    shown = command.invoke(app, words)

    assert "Usage:" in plain(shown.output)


@pytest.mark.parametrize("word", ["serve", "pub", "sub", "topics", "subscriptions", "token", "config"])
def test_every_word_explains_itself(command: CliRunner, word: str) -> None:
    shown = command.invoke(app, [word, "--help"])

    assert shown.exit_code == 0
    assert word in plain(command.invoke(app, ["--help"]).output)


def test_help_is_quick() -> None:
    code = "import sys, gateway.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    root = Path(__file__).resolve().parents[2]
    imported = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root
    ).stdout.split()

    assert not HEAVY & set(imported)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sub", "default/a", "--since", "yesterday"], "--since 'yesterday' is not one of"),
        (["pub", "default/a", "--json-lines", "--binary"], "exclude each other"),
        (["pub", "default/a", "--attribute", "colour"], "is not NAME=VALUE"),
        (["topics", "create", "a"], "PROJECT/TOPIC"),
        (["subscriptions", "delete", "a"], "PROJECT/SUBSCRIPTION"),
        (["subscriptions", "create", "default/a", "--topic", "b"], "PROJECT/TOPIC"),
        (["topics", "create", "default/a", "--server", "ftp://x"], "is not a server"),
        (["token", "anna", "--expires", "soon"], "is not a time"),
        (["serve", "--port", "99999"], "at most"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_tried(command: CliRunner, words: list[str], sentence: str) -> None:
    ended = command.invoke(app, words)

    assert ended.exit_code == MISUSED
    assert sentence in ended.stderr
    assert ended.stdout == ""


def test_a_token_is_all_that_is_printed(command: CliRunner) -> None:
    ended = command.invoke(app, ["token", "anna", "--pub", "default/*", "--sub", "default/*"])

    assert ended.exit_code == 0
    assert len(ended.stdout.strip().split(".")) == 3
    assert ended.stderr == ""


def test_the_configuration_is_checked_from_a_file(command: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text("port = 9000\n")
    (tmp_path / "bad.toml").write_text("prot = 9000\n")

    good = command.invoke(app, ["config", "check", "--config", "good.toml"])
    bad = command.invoke(app, ["config", "check", "--config", "bad.toml"])

    assert good.exit_code == 0 and "port = 9000" in good.stdout
    assert bad.exit_code == MISUSED and "did you mean port?" in bad.stderr
