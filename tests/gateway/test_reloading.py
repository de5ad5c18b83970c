"""What a SIGHUP changes, what it says, and what it leaves alone."""

import logging
from dataclasses import replace

import pytest

from broker.catalog import AutoCreate
from gateway.config import OPTIONS, Config, ConfigError, Limits, Log, Mistake
from gateway.options import Secret
from gateway.reloading import LIVE, Reloading, changes, is_live, with_options
from gateway.sections import LogLevel, RetentionDefaults

GIVEN = Config(redis=Secret("redis://h"), service_token=Secret("t" * 20), secret_key=Secret("k" * 40))
IN_FORCE = replace(GIVEN, name="node-1", port=4711)


class Operator:
    """Edits the configuration, and sees what is put into force."""

    def __init__(self) -> None:
        self.file: Config | ConfigError = GIVEN
        self.applied: list[Config] = []
        self.reloading = Reloading(IN_FORCE, given=GIVEN, read=self._read, apply=self.applied.append)

    def _read(self) -> Config:
        if isinstance(self.file, ConfigError):
            raise self.file
        return self.file


@pytest.fixture
def operator(caplog: pytest.LogCaptureFixture) -> Operator:
    caplog.set_level(logging.INFO)
    return Operator()


def test_every_live_option_exists() -> None:
    for live in LIVE:
        assert any(is_live(key) and (key == live or key.startswith(live)) for key in OPTIONS), live
    assert not is_live("weights")
    assert not is_live("limits.connections")


def test_a_live_option_takes_effect_and_is_told(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    operator.file = replace(
        GIVEN,
        weight=7,
        log=Log(level=LogLevel.DEBUG),
        retention=RetentionDefaults(max_messages=5),
        auto_create=AutoCreate.NONE,
    )
    operator.reloading.reload()
    (applied,) = operator.applied
    assert (applied.name, applied.port) == ("node-1", 4711), "what was made at the start stays"
    assert (applied.weight, applied.log.level, applied.retention.max_messages) == (7, LogLevel.DEBUG, 5)
    assert "configuration: weight: '1' -> '7'" in caplog.messages
    assert not any("next start" in message for message in caplog.messages)


def test_what_needs_a_restart_is_said_each_time_and_not_applied(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    operator.file = replace(GIVEN, prefix="other", limits=Limits(connections=5))
    for _ in range(2):
        caplog.clear()
        operator.reloading.reload()
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert told == [
            "configuration: prefix: 'hr' -> 'other'; this takes effect at the next start",
            "configuration: limits.connections: '50000' -> '5'; this takes effect at the next start",
        ]
    assert operator.applied == [IN_FORCE, IN_FORCE]


def test_a_live_change_is_told_once(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    operator.file = replace(GIVEN, weight=2)
    operator.reloading.reload()
    caplog.clear()
    operator.reloading.reload()
    assert caplog.messages == ["configuration: nothing changed"]
    assert len(operator.applied) == 2, "files that options name may hold something else"


def test_no_secret_is_told(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    operator.file = replace(GIVEN, secret_key=Secret("another secret" * 4))
    operator.reloading.reload()
    assert caplog.messages[0] == "configuration: secret_key changed; this takes effect at the next start"
    assert "another" not in caplog.text


def test_a_mistake_changes_nothing(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    operator.file = ConfigError([Mistake("headrace.toml:3 weight", "this must be a whole number"), Mistake("b", "no")])
    operator.reloading.reload()
    assert operator.applied == []
    assert caplog.messages == [
        "the configuration is kept as it was: headrace.toml:3 weight: this must be a whole number",
        "the configuration is kept as it was: b: no",
    ]


def test_a_failure_to_apply_does_not_end_the_node(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Config) -> None:
        raise OSError("no")

    Reloading(IN_FORCE, given=GIVEN, read=lambda: replace(GIVEN, weight=3), apply=fail).reload()
    assert "the configuration could not be put into force" in caplog.messages


def test_options_are_taken_over_one_by_one() -> None:
    source = replace(GIVEN, weight=9, prefix="x", log=Log(level=LogLevel.ERROR))
    assert with_options(IN_FORCE, source, ["log.level"]) == replace(IN_FORCE, log=source.log)
    assert [change.key for change in changes(GIVEN, source)] == ["weight", "prefix", "log.level"]
