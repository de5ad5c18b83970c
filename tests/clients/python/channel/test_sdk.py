"""Without Google's SDK, and with it: a Python of its own runs an application under the real one."""

import pytest

from headrace.channel import sdk


def test_without_the_sdk_nothing_of_it_is_found() -> None:
    assert sdk.module("api.apiproxy_stub") is None
    assert sdk.member("api.apiproxy_stub", "APIProxyStub") is None


def test_a_module_and_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "ROOT", "headrace")

    assert sdk.module("channel.sdk") is sdk
    assert sdk.member("channel.sdk", "member") is sdk.member
    assert sdk.member("channel.sdk", "other") is None
