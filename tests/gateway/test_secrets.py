"""The secrets of an embedded node: made once, kept private, the same for whoever comes later."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.checks import contradictions
from gateway.config import Config, ConfigError
from gateway.options import Secret
from gateway.secrets import SECRET_KEY_FILE, SERVICE_TOKEN_FILE, with_kept_secrets


def test_they_are_made_at_the_first_start_and_read_at_the_next(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path / "new" / "data"))
    first = with_kept_secrets(config)
    assert first.service_token
    assert first.secret_key
    assert first.service_token != first.secret_key
    assert list(contradictions(first)) == []
    assert with_kept_secrets(config) == first


def test_another_node_has_others(tmp_path: Path) -> None:
    made = [with_kept_secrets(Config(data=str(tmp_path / name))) for name in ("a", "b")]
    assert made[0].service_token != made[1].service_token
    assert made[0].secret_key != made[1].secret_key


def test_nobody_else_may_read_them(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path / "data"))
    mask = os.umask(0)
    try:
        with_kept_secrets(config)
    finally:
        os.umask(mask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {SERVICE_TOKEN_FILE: 0o600, SECRET_KEY_FILE: 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    # Copied about with a wider mode: tightened again.
    (tmp_path / "data" / SECRET_KEY_FILE).chmod(0o644)
    with_kept_secrets(config)
    assert stat.S_IMODE((tmp_path / "data" / SECRET_KEY_FILE).stat().st_mode) == 0o600


def test_what_is_configured_is_neither_replaced_nor_written(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path), service_token=Secret("configured-by-somebody"))
    kept = with_kept_secrets(config)
    assert kept.service_token == config.service_token
    assert kept.secret_key
    assert [path.name for path in tmp_path.iterdir()] == [SECRET_KEY_FILE]


def test_with_redis_nothing_is_made(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path / "data"), redis=Secret("redis://x"))
    assert with_kept_secrets(config) == config
    assert not (tmp_path / "data").exists()


def test_two_that_start_at_once_have_the_same(tmp_path: Path) -> None:
    for number in range(20):
        config = Config(data=str(tmp_path / str(number)))
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(with_kept_secrets, [config] * 8))
        assert all(other == made[0] for other in made)
        assert len(list((tmp_path / str(number)).iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff" * 40, "ü".encode() * 40])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SERVICE_TOKEN_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match=SERVICE_TOKEN_FILE):
        with_kept_secrets(Config(data=str(tmp_path)))
    assert (tmp_path / SERVICE_TOKEN_FILE).read_bytes() == content


def test_a_directory_that_cannot_be_had_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for data in ("file", "file/below"):
        with pytest.raises(ConfigError, match="cannot be kept"):
            with_kept_secrets(Config(data=str(tmp_path / data)))


def test_a_secret_shows_in_no_representation(tmp_path: Path) -> None:
    kept = with_kept_secrets(Config(data=str(tmp_path)))
    assert kept.service_token
    assert kept.service_token.value not in repr(kept)
    assert kept.service_token.value not in repr(replace(kept, port=1))
