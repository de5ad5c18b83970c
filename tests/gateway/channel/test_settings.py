"""The section `channel` of the configuration."""

import pytest

from gateway.channel.settings import Channel, Profile, Second
from gateway.options import ConfigError, options_of, read_value

OPTIONS = {option.key: option for option in options_of(Channel)}


def test_the_defaults_are_the_contracts() -> None:
    settings = Channel()
    assert settings.enabled
    assert settings.client_id_bytes == 64
    assert (settings.profile, settings.second) == (Profile.BUFFER, Second.REPLACES)
    assert (settings.gone_seconds, settings.token_minutes) == (2, 120)
    assert (settings.presence_url, settings.presence_retry) == ("", False)


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [("profile", "strict", Profile.STRICT), ("second", "mirrors", Second.MIRRORS), ("client_id_bytes", "256", 256)],
)
def test_options_are_read(key: str, given: str, value: object) -> None:
    assert read_value(OPTIONS[key], given) == value


@pytest.mark.parametrize(
    ("key", "given"), [("client_id_bytes", "257"), ("token_minutes", "1441"), ("token_minutes", "0"), ("profile", "x")]
)
def test_what_no_channel_can_have_is_refused(key: str, given: str) -> None:
    with pytest.raises((ValueError, ConfigError)):
        read_value(OPTIONS[key], given)


def test_the_secret_is_never_shown() -> None:
    assert OPTIONS["presence_secret"].is_secret
