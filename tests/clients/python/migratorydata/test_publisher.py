"""The blocking client of version 5 on real nodes: every status, every exception."""

import time
import uuid

import httpx
import pytest
from nodes import Node

from headrace.migratorydata import (
    NOTIFY_PUBLISH_OK,
    MigratoryDataClient,
    MigratoryDataException,
    MigratoryDataMessage,
)
from headrace.migratorydata.publisher import STATUS
from headrace.outcomes import Outcome


def a_subject() -> str:
    return f"/default/{uuid.uuid4().hex}"


def test_every_outcome_has_its_status() -> None:
    assert {status.removeprefix("NOTIFY_PUBLISH_") for status in STATUS.values()} == {str(word) for word in Outcome}
    assert all(STATUS[word] == f"NOTIFY_PUBLISH_{word}" for word in Outcome)


def test_the_seeds_program_runs(addresses: list[str], pair: tuple[Node, Node]) -> None:
    subject = a_subject()
    client = MigratoryDataClient()
    client.setEntitlementToken("some-token")  # type: ignore[attr-defined]
    client.setServers(addresses)  # type: ignore[attr-defined]
    response = client.publish(MigratoryDataMessage(subject, "1"))
    assert response == MigratoryDataClient.NOTIFY_PUBLISH_OK == NOTIFY_PUBLISH_OK
    assert client.publish(MigratoryDataMessage(subject, b"\xff", fields=[("k", "v")])) == NOTIFY_PUBLISH_OK
    client.disconnect()
    client.disconnect()
    path = f"/v1/projects/default/topics/{subject.rpartition('/')[2]}"
    with httpx.Client(base_url=pair[1].url, headers=pair[1].headers) as http:
        assert http.get(path).status_code == 200


@pytest.mark.parametrize("token", ["", "another-token"])
def test_another_token_does_not_publish(addresses: list[str], token: str) -> None:
    with MigratoryDataClient() as client:
        client.set_entitlement_token(token)
        if token:
            with pytest.raises(MigratoryDataException) as refused:
                client.set_servers(addresses)
            assert refused.value.code == MigratoryDataException.E_ENTITLEMENT_TOKEN
            return
        client.set_servers(addresses)
        assert client.publish(MigratoryDataMessage(a_subject(), "1")) == client.NOTIFY_PUBLISH_DENIED


def test_a_subject_without_subscribers_is_said_where_the_project_wants_it(
    addresses: list[str], pair: tuple[Node, Node]
) -> None:
    with httpx.Client(base_url=pair[0].url, headers=pair[0].headers) as http, MigratoryDataClient() as client:
        project = f"p{uuid.uuid4().hex}"
        assert http.post(f"/v1/projects/{project}", json={}).status_code == 200
        limits = {"noSubscriber": "refuse"}
        assert http.post(f"/v1/projects/{project}:modifyLimits", json=limits).status_code == 200
        client.set_entitlement_token("some-token")
        client.set_servers(addresses[:1])
        refused = client.publish(MigratoryDataMessage(f"/{project}/lines", "1"))
        assert refused == client.NOTIFY_PUBLISH_NO_SUBSCRIBER


def test_mistakes_are_exceptions(addresses: list[str]) -> None:
    with MigratoryDataClient() as client:
        client.set_entitlement_token("some-token")
        with pytest.raises(MigratoryDataException) as early:
            client.publish(MigratoryDataMessage(a_subject(), "1"))
        assert early.value.code == MigratoryDataException.E_NOT_CONNECTED
        for servers, code in (([], 8), (["nonsense"], 8)):
            with pytest.raises(MigratoryDataException) as refused:
                client.set_servers(servers)
            assert refused.value.code == code
        client.set_connection_timeout(200)
        with pytest.raises(MigratoryDataException) as away:
            client.set_servers(["127.0.0.1:1"])
        assert away.value.code == MigratoryDataException.E_CLUSTER_MEMBERS_CONNECTION_FAILED
        client.set_connection_timeout(10_000)
        client.set_servers(["127.0.0.1:1", *addresses])
        with pytest.raises(MigratoryDataException) as nothing:
            client.publish(None)
        assert nothing.value.code == MigratoryDataException.E_MSG_NULL
        assert client.publish(MigratoryDataMessage(a_subject(), "x" * 1_600_000)) == client.NOTIFY_PUBLISH_FAILED


def test_a_token_shows_nowhere(addresses: list[str]) -> None:
    with MigratoryDataClient() as client:
        client.set_entitlement_token("some-token")
        client.set_servers(addresses)
        assert "some-token" not in repr(client)


def test_a_publisher_whose_token_was_refused_goes_on_with_another(pair: tuple[Node, Node]) -> None:
    headers, users = pair[0].headers, f"{pair[0].url}/v1/users"
    body = {"projects": [{"project": "default", "roles": ["publisher"]}]}
    made = httpx.post(f"{users}/{uuid.uuid4().hex}", headers=headers, json=body).raise_for_status().json()
    with MigratoryDataClient() as client:
        client.set_entitlement_token(made["token"])
        client.set_servers([f"127.0.0.1:{pair[0].port}"])
        httpx.delete(f"{users}/{made['name']}", headers=headers).raise_for_status()
        message = MigratoryDataMessage(a_subject(), "1")
        deadline = time.monotonic() + 30
        while client.publish(message) != client.NOTIFY_PUBLISH_DENIED or client._native.inner.error is None:  # type: ignore[union-attr]
            assert time.monotonic() < deadline
        assert client.publish(message) == client.NOTIFY_PUBLISH_DENIED
        client.set_entitlement_token("another-token")
        assert client.publish(message) == client.NOTIFY_PUBLISH_DENIED
        client.set_entitlement_token("some-token")
        assert client.publish(message) == NOTIFY_PUBLISH_OK
