"""What an API is made of: profiles and defaults."""

from gateway.apigateway.configuration.definitions import (
    PROFILES,
    RELAXED,
    ApiLimits,
    Integration,
    IntegrationType,
    Profile,
)
from gateway.options import Secret, options_of


def test_the_default_profile_is_awss() -> None:
    limits = PROFILES[Profile.AWS]
    assert limits == ApiLimits()
    assert (limits.message_bytes, limits.frame_bytes) == (131_072, 32_768)
    assert (limits.idle_seconds, limits.connection_seconds, limits.ping_seconds) == (600, 7200, 0)
    assert (limits.connects_per_second, limits.requests_per_second, limits.requests_burst) == (500, 10_000, 5000)
    assert limits.url_chars == 4096
    assert not limits.binary


def test_the_relaxed_profile_is_within_the_bounds_of_each_limit() -> None:
    for option in options_of(ApiLimits):
        value = getattr(RELAXED, option.key)
        assert option.least is None or value >= option.least, option.key
        assert option.most is None or value <= option.most, option.key
    assert RELAXED.message_bytes > ApiLimits().message_bytes


def test_an_integration_has_awss_time_and_hides_its_secret() -> None:
    integration = Integration(type=IntegrationType.MOCK, secret=Secret("hush-hush"))
    assert integration.timeout_ms == 29_000
    assert "hush-hush" not in repr(integration)
