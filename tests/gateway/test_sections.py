"""The sections that belong to no room: what each service gets of them."""

from ipaddress import ip_address, ip_network

import pytest

from gateway.config import load
from gateway.outgoing import OutgoingRules
from gateway.sections import Limits, LogFormat, LogLevel, Push


def test_the_publisher_gets_its_share() -> None:
    limits = load({"limits.append_seconds": 2, "limits.waiting_publishes": 30_000}, environment={}).limits
    assert limits.publishing.append_seconds == 2
    assert limits.publishing.node_requests == 30_000
    assert limits.publishing.message_bytes == Limits().message_bytes


def test_words_are_words() -> None:
    config = load({"log.format": "JSON", "log.level": "warning"}, environment={})
    assert config.log.format is LogFormat.JSON
    assert config.log.level is LogLevel.WARNING


def test_outgoing_requests_are_held_to_what_the_operator_allows() -> None:
    assert Push().outgoing == OutgoingRules()
    rules = Push(plain_http=True, allowed_networks=("10.1.0.0/16",), ports=("443", "8443")).outgoing
    assert rules == OutgoingRules(plain_http=True, networks=(ip_network("10.1.0.0/16"),), ports=frozenset((443, 8443)))
    assert rules.allows(ip_address("10.1.2.3"))
    assert not rules.allows(ip_address("10.2.2.3"))


@pytest.mark.parametrize("limit", ["message_bytes", "frame_bytes", "body_bytes"])
def test_sizes_are_bounded(limit: str) -> None:
    assert getattr(Limits(), limit) > 0
