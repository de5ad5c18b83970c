"""boto3's `apigatewaymanagementapi`, as it is, against the management API (contracts/apigateway 17: 1 to 7)."""

import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError, OperationNotPageableError, ParamValidationError
from http_node import Served
from management import (
    ACTIVE_MS,
    CONNECTED_MS,
    ID,
    Listed,
    apart,
    api,
    boto,
    credential,
    facts,
    managed,
    section,
    unsigned,
)

from broker.errors import Unavailable
from gateway.apigateway.application.policies import read_policy
from gateway.apigateway.errors import BufferFull, Gone

UNKNOWN = "L0SM9cOFvHcCIhx="


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[tuple[Served, Listed]]:
    listed = Listed()
    async with managed(section(), listed) as running:
        yield running, listed


@pytest.fixture
def connections(shared: tuple[Served, Listed]) -> Listed:
    shared[1].reset()
    return shared[1]


@pytest.fixture
def served(shared: tuple[Served, Listed]) -> Served:
    return shared[0]


@pytest.fixture
def client(served: Served) -> Any:
    return boto(f"{served.url}/prod")


async def failing(call: Any, **given: Any) -> ClientError:
    with pytest.raises(ClientError) as raised:
        await apart(call, **given)
    assert len(raised.value.response["ResponseMetadata"]["RequestId"]) == 36
    return raised.value


# What succeeds.


async def test_post_get_and_delete(client: Any, connections: Listed) -> None:
    posted = await apart(client.post_to_connection, ConnectionId=ID, Data=b"hello")
    assert set(posted) == {"ResponseMetadata"} and posted["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert len(posted["ResponseMetadata"]["RequestId"]) == 36
    seen = await apart(client.get_connection, ConnectionId=ID)
    assert seen["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert seen["ConnectedAt"] == datetime.fromtimestamp(CONNECTED_MS / 1000, UTC)
    assert seen["LastActiveAt"] == datetime.fromtimestamp(ACTIVE_MS / 1000, UTC)
    assert seen["ConnectedAt"].tzinfo is not None
    assert seen["Identity"] == {"SourceIp": "192.0.2.7", "UserAgent": "tests/1"}
    deleted = await apart(client.delete_connection, ConnectionId=ID)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert connections.posted == [(ID, b"hello")] and not connections.present


async def test_data_is_bytes_a_text_or_a_file(client: Any, connections: Listed, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"from a file")
    with path.open("rb") as file:
        for data in (b"bytes", bytearray(b"bytearray"), "tëxt", io.BytesIO(b"in memory"), file, b"", b"\xff\x00"):
            await apart(client.post_to_connection, ConnectionId=ID, Data=data)
    sent = [data for _, data in connections.posted]
    assert sent == [b"bytes", b"bytearray", "tëxt".encode(), b"in memory", b"from a file", b"", b"\xff\x00"]


@pytest.mark.parametrize("path", ["", "/", "/prod", "/prod/", "/a/b", "/a/b/"])
async def test_an_endpoint_may_have_any_path(served: Served, connections: Listed, path: str) -> None:
    client = boto(served.url + path)
    await apart(client.post_to_connection, ConnectionId=ID, Data=b"hi")
    await apart(client.get_connection, ConnectionId=ID)
    await apart(client.delete_connection, ConnectionId=ID)
    assert connections.posted == [(ID, b"hi")] and connections.deleted


async def test_the_endpoint_may_come_from_the_environment(
    served: Served, connections: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", f"{served.url}/prod")
    await apart(boto(None).post_to_connection, ConnectionId=ID, Data=b"hi")
    assert connections.posted == [(ID, b"hi")]


async def test_a_session_token_is_asked_for_where_one_is_configured(connections: Listed) -> None:
    async with managed(section(credential(token="session/+=")), connections) as served:
        await apart(boto(served.url, token="session/+=").post_to_connection, ConnectionId=ID, Data=b"hi")
        for token in ("another", None):
            error = await failing(boto(served.url, token=token).get_connection, ConnectionId=ID)
            assert error.response["Error"]["Code"] == "UnrecognizedClientException"


async def test_an_open_api_takes_unsigned_calls(connections: Listed) -> None:
    async with managed(section(open=True), connections) as served:
        for client in (unsigned(served.url), boto(served.url, key="any", secret="thing")):
            await apart(client.post_to_connection, ConnectionId=ID, Data=b"hi")
    assert len(connections.posted) == 2


# What is refused, in boto3's classes.


async def test_an_unknown_connection_is_a_gone_exception(client: Any, connections: Listed) -> None:
    for call, data in (
        (client.post_to_connection, {"Data": b""}),
        (client.get_connection, {}),
        (client.delete_connection, {}),
    ):
        with pytest.raises(client.exceptions.GoneException) as raised:
            await apart(call, ConnectionId=UNKNOWN, **data)
        assert raised.value.response["Error"] == {"Code": "GoneException", "Message": "The connection is gone."}
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 410


async def test_too_much_data_is_a_payload_too_large_exception(client: Any, connections: Listed) -> None:
    await apart(client.post_to_connection, ConnectionId=ID, Data=b"x" * 131_072)
    for size in (131_073, 200_000, 17_000_000):
        with pytest.raises(client.exceptions.PayloadTooLargeException) as raised:
            await apart(client.post_to_connection, ConnectionId=ID, Data=b"x" * size)
        assert raised.value.response["Message"] == raised.value.response["Error"]["Message"]
    assert [len(data) for _, data in connections.posted] == [131_072]


async def test_a_full_buffer_is_a_limit_exceeded_exception(client: Any, connections: Listed) -> None:
    connections.refusals = [BufferFull()]
    with pytest.raises(client.exceptions.LimitExceededException) as raised:
        await apart(client.post_to_connection, ConnectionId=ID, Data=b"hi")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert raised.value.response["Error"]["Message"] == "The connection's send buffer is full."


async def test_a_policy_that_says_no_is_a_forbidden_exception(connections: Listed) -> None:
    posts = {"Effect": "Allow", "Action": "execute-api:ManageConnections", "Resource": "arn:aws:*:*:*:*/POST/*"}
    async with managed(section(credential(policy=read_policy([posts]))), connections) as served:
        client = boto(served.url)
        await apart(client.post_to_connection, ConnectionId=ID, Data=b"hi")
        for call in (client.get_connection, client.delete_connection):
            with pytest.raises(client.exceptions.ForbiddenException) as raised:
                await apart(call, ConnectionId=ID)
            assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert connections.present


@pytest.mark.parametrize("wrong", ["", "not-an-id", "a b", "ä", "a/b", "%", "x" * 100])
async def test_what_can_be_no_id_is_a_bad_request(client: Any, wrong: str) -> None:
    error = await failing(client.post_to_connection, ConnectionId=wrong, Data=b"hi")
    assert error.response["Error"]["Code"] == "BadRequestException"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400


async def test_faults_of_a_signature_have_names(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def code(client: Any) -> str:
        error = await failing(client.post_to_connection, ConnectionId=ID, Data=b"hi")
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403 and error.response["Error"]["Message"]
        return str(error.response["Error"]["Code"])

    assert await code(unsigned(served.url)) == "MissingAuthenticationTokenException"
    assert await code(boto(served.url, secret="wrong")) == "InvalidSignatureException"
    assert await code(boto(served.url, key="AKIDNOBODY")) == "UnrecognizedClientException"
    stale = datetime.now(UTC) - timedelta(minutes=6)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: stale)
    assert await code(boto(served.url)) == "InvalidSignatureException"


async def test_a_key_of_one_api_does_not_reach_another(connections: Listed) -> None:
    game = {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:execute-api:*:*:game/*"}
    given = section(credential(policy=read_policy([game])), apis=(api("chat", "prod"), api("game", "play")))
    async with managed(given, connections) as served:
        client = boto(f"{served.url}/prod")
        with pytest.raises(client.exceptions.ForbiddenException):
            await apart(client.post_to_connection, ConnectionId=ID, Data=b"hi")
        client = boto(f"{served.url}/play")
        with pytest.raises(client.exceptions.ForbiddenException):
            await apart(client.post_to_connection, ConnectionId=ID, Data=b"hi")
    assert not connections.posted


# Retries.


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
@pytest.mark.parametrize("refusal", [Unavailable, BufferFull])
async def test_boto3_repeats_what_may_pass_and_always_under_one_id(
    served: Served, connections: Listed, mode: str, refusal: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    connections.refusals = [refusal(), refusal()]
    client = boto(served.url, retries={"total_max_attempts": 3, "mode": mode})
    answer = await apart(client.post_to_connection, ConnectionId=ID, Data=b"once")
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2
    assert len(connections.invocations) == 3 and len(set(connections.invocations)) == 1
    assert connections.invocations[0] is not None
    assert connections.posted == [(ID, b"once")]


async def test_a_refusal_that_stays_is_not_repeated(
    served: Served, connections: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: pytest.fail("boto3 waits to repeat"))
    client = boto(served.url, retries={"total_max_attempts": 5, "mode": "legacy"})
    connections.refusals = [Gone()]
    with pytest.raises(client.exceptions.GoneException):
        await apart(client.post_to_connection, ConnectionId=ID, Data=b"hi")
    with pytest.raises(client.exceptions.PayloadTooLargeException):
        await apart(client.post_to_connection, ConnectionId=ID, Data=b"x" * 131_073)


# The rest of the client.


async def test_a_presigned_url_shows_and_closes_a_connection(client: Any, connections: Listed) -> None:
    def url(operation: str, **more: int) -> str:
        return str(client.generate_presigned_url(operation, {"ConnectionId": ID}, **more))

    async with httpx.AsyncClient() as http:
        shown = await http.get(url("get_connection"))
        assert shown.status_code == 200 and shown.json()["identity"]["sourceIp"] == "192.0.2.7"
        wrong = await http.delete(url("get_connection"))
        assert (wrong.status_code, wrong.headers["x-amzn-ErrorType"]) == (403, "InvalidSignatureException")
        longer = await http.get(url("get_connection", ExpiresIn=60).replace("Expires=60", "Expires=61"))
        assert longer.status_code == 403
        assert (await http.delete(url("delete_connection", ExpiresIn=60))).status_code == 204
    assert not connections.present


async def test_a_presigned_url_ends(client: Any, connections: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    before = datetime.now(UTC) - timedelta(seconds=61)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: before)
    async with httpx.AsyncClient() as http:
        for seconds, status in ((60, 403), (3600, 200)):
            url = client.generate_presigned_url("get_connection", {"ConnectionId": ID}, ExpiresIn=seconds)
            assert (await http.get(url)).status_code == status
    assert connections.present


async def test_a_session_token_is_part_of_a_presigned_url(connections: Listed) -> None:
    async with managed(section(credential(token="session/+=")), connections) as served, httpx.AsyncClient() as http:
        client = boto(served.url, token="session/+=")
        url = client.generate_presigned_url("get_connection", {"ConnectionId": ID})
        assert (await http.get(url)).status_code == 200
        assert (await http.get(url.replace("X-Amz-Security-Token=s", "X-Amz-Security-Token=t"))).status_code == 403


async def test_nothing_of_this_service_comes_in_pages_or_is_waited_for() -> None:
    client = boto("http://127.0.0.1:1")
    for operation in ("post_to_connection", "get_connection", "delete_connection"):
        assert not client.can_paginate(operation)
        with pytest.raises(OperationNotPageableError):
            client.get_paginator(operation)
    assert client.waiter_names == []
    with pytest.raises(ValueError, match="Waiter does not exist"):
        client.get_waiter("connection_open")
    with pytest.raises(ParamValidationError):
        client.post_to_connection(ConnectionId=ID)
    client.close()


async def test_a_client_keeps_its_connections(served: Served, client: Any, connections: Listed) -> None:
    connections.present[UNKNOWN] = facts(UNKNOWN)
    await apart(client.get_connection, ConnectionId=ID)
    before = served.census.total
    for connection in (ID, UNKNOWN, ID):
        await apart(client.post_to_connection, ConnectionId=connection, Data=b"hi")
        await apart(client.get_connection, ConnectionId=connection)
    await apart(client.delete_connection, ConnectionId=UNKNOWN)
    await failing(client.get_connection, ConnectionId=UNKNOWN)
    await apart(client.post_to_connection, ConnectionId=ID, Data=b"hi")
    assert served.census.total == before
