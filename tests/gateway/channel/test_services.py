"""What the transports share."""

import pytest
from channel_site import Site
from http_node import eventually

from broker.errors import Unauthorized
from gateway.channel.errors import Replaced
from gateway.channel.services import Services


def services_of(site: Site) -> Services:
    found = site.room.evict.__self__._services  # type: ignore[attr-defined]
    assert isinstance(found, Services)
    return found


async def test_opening_tells_presence_and_who_was_replaced(site: Site) -> None:
    services = services_of(site)
    first = await services.open(site.client, "a", number=None, alive_ms=5000, cursor=None)
    second = await services.open(site.client, "b", number=None, alive_ms=5000, cursor=None)
    assert second.replaced == [("a", "n1")]
    with pytest.raises(Replaced):
        await services.open(site.client, "a", number=first.number, alive_ms=5000, cursor=None)
    await services.close(site.client, "b", cursor=None, grace_ms=0)
    await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_a_grant(site: Site) -> None:
    services = services_of(site)
    assert services.grant(site.token()).client_id == site.client
    with pytest.raises(Unauthorized):
        services.grant("x")
    assert (services.lease_ms, services.gone_ms) == (3000, 1000)
