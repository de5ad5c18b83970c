"""Push configuration over HTTP: every rule of the contract's 4.11, and the verification of a real endpoint."""

import json
from typing import Any

import httpx
import pytest
from http_node import Node
from receiver import Receiver, answering, receiving

from broker.names import parse_subscription, parse_topic
from broker.store.subscriptions import SubscriptionKind, SubscriptionSettings
from gateway.config import Push

SUB = "/projects/p/subscriptions/s"
NAME = parse_subscription("p/s")
ENDPOINT = "https://e.test/in"

NONE = {
    "type": "",
    "pushEndpoint": "",
    "maxMessages": 0,
    "authorizationHeader": {},
    "retryPolicy": {},
    "verificationHash": "",
    "verified": False,
    "mattermostUrl": "",
    "mattermostUsername": "",
    "mattermostChannel": "",
    "base64Decode": False,
}


def refused(answer: httpx.Response, status: int, word: str, message: str) -> None:
    assert answer.json() == {"error": {"code": status, "message": message, "status": word}}
    assert answer.status_code == status


async def make(argo: httpx.AsyncClient, push: object = None) -> httpx.Response:
    body: dict[str, object] = {"topic": "projects/p/topics/t"}
    if push is not None:
        body["pushConfig"] = push
    return await argo.put(SUB, content=json.dumps(body))


async def modify(argo: httpx.AsyncClient, push: object) -> httpx.Response:
    return await argo.post(f"{SUB}:modifyPushConfig", content=json.dumps({"pushConfig": push}))


async def config(argo: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await argo.get(SUB)).json()["pushConfig"]
    return found


async def changed(argo: httpx.AsyncClient, push: object) -> dict[str, Any]:
    answer = await modify(argo, push)
    assert (answer.status_code, answer.content) == (200, b"")
    return await config(argo)


async def test_what_the_unmodified_client_sends_makes_an_http_endpoint(argo: httpx.AsyncClient) -> None:
    push = {"pushEndpoint": ENDPOINT, "retryPolicy": {"type": "linear", "period": 300}, "maxMessages": 5}
    answer = await make(argo, push)
    assert answer.status_code == 200
    made = answer.json()["pushConfig"]
    value, verification_hash = made["authorizationHeader"]["value"], made["verificationHash"]
    assert made == {
        **NONE,
        "type": "http_endpoint",
        "pushEndpoint": ENDPOINT,
        "maxMessages": 5,
        "authorizationHeader": {"type": "autogen", "value": value},
        "retryPolicy": {"type": "linear", "period": 300},
        "verificationHash": verification_hash,
    }
    assert len(value) == len(verification_hash) == 64
    assert value != verification_hash
    shown = (await argo.get(SUB)).json()
    assert shown["pushConfig"] == made
    assert "pushStatus" not in shown
    listed = (await argo.get("/projects/p/subscriptions")).json()["subscriptions"]
    assert [each["pushConfig"] for each in listed] == [made]


async def test_defaults(argo: httpx.AsyncClient) -> None:
    made = (await make(argo, {"pushEndpoint": ENDPOINT})).json()["pushConfig"]
    assert (made["maxMessages"], made["retryPolicy"]) == (1, {"type": "linear", "period": 3000})
    assert made["authorizationHeader"]["type"] == "autogen"
    assert (made["verified"], made["base64Decode"]) == (False, False)


async def test_slowstart_shows_a_period_because_the_client_reads_one(argo: httpx.AsyncClient) -> None:
    retry = {"type": "slowstart", "period": 77}
    made = (await make(argo, {"pushEndpoint": ENDPOINT, "retryPolicy": retry})).json()["pushConfig"]
    assert made["retryPolicy"] == {"type": "slowstart", "period": 0}


@pytest.mark.parametrize("push", [None, {}, {"pushEndpoint": "", "maxMessages": 0}])
async def test_none(argo: httpx.AsyncClient, push: object) -> None:
    assert (await make(argo, push)).json()["pushConfig"] == NONE
    assert await config(argo) == NONE


HTTPS = "Push endpoint should be addressed by a valid https url"
RETRY = "Retry policy can only be of 'linear' or 'slowstart' type"
AUTHORIZATION = "Authorization header type can only be of 'autogen' or 'disabled' type"
TYPE = "Push configuration type can only be of 'http_endpoint' or 'mattermost'"
BAD_RETRY = {"retryPolicy": {"type": "fast"}}
BAD_AUTHORIZATION = {"authorizationHeader": {"type": "basic"}}

BAD = [
    ({"type": "smtp"}, TYPE),
    ({"maxMessages": 3}, TYPE),
    ({"type": "http_endpoint"}, HTTPS),
    ({"pushEndpoint": "e.test"}, HTTPS),
    ({"pushEndpoint": "ftp://e.test/"}, HTTPS),
    ({"pushEndpoint": "https://"}, HTTPS),
    ({"pushEndpoint": "https://user:pass@e.test/"}, HTTPS),
    ({"type": "mattermost"}, "Field mattermostUrl cannot be empty"),
    ({"type": "mattermost", "mattermostUrl": "m.test"}, HTTPS),
    ({"pushEndpoint": ENDPOINT, **BAD_AUTHORIZATION}, AUTHORIZATION),
    ({"pushEndpoint": ENDPOINT, **BAD_RETRY}, RETRY),
]


@pytest.mark.parametrize(("push", "message"), BAD)
async def test_a_bad_configuration_makes_no_subscription_and_changes_none(
    argo: httpx.AsyncClient, push: object, message: str
) -> None:
    refused(await make(argo, push), 400, "INVALID_ARGUMENT", message)
    assert (await argo.get(SUB)).status_code == 404
    before = (await make(argo, {"pushEndpoint": ENDPOINT})).json()["pushConfig"]
    refused(await modify(argo, push), 400, "INVALID_ARGUMENT", message)
    assert await config(argo) == before


async def test_a_change_looks_at_the_retry_policy_first_a_creation_last(argo: httpx.AsyncClient) -> None:
    bad = {"type": "smtp", **BAD_RETRY}
    refused(await make(argo, bad), 400, "INVALID_ARGUMENT", TYPE)
    refused(
        await make(argo, {"pushEndpoint": ENDPOINT, **BAD_RETRY, **BAD_AUTHORIZATION}),
        400,
        "INVALID_ARGUMENT",
        AUTHORIZATION,
    )
    await make(argo)
    refused(await modify(argo, bad), 400, "INVALID_ARGUMENT", RETRY)


WRONG_TYPES = [
    5,
    "x",
    {"pushEndpoint": 5},
    {"maxMessages": "3"},
    {"retryPolicy": 5},
    {"retryPolicy": {"period": "x"}},
    {"base64Decode": "yes"},
    {"authorizationHeader": []},
    {"mattermostUrl": 1},
]


@pytest.mark.parametrize("push", WRONG_TYPES)
async def test_a_wrong_json_type(argo: httpx.AsyncClient, push: object) -> None:
    refused(await make(argo, push), 400, "INVALID_ARGUMENT", "Invalid Subscription Arguments")
    assert (await argo.get(SUB)).status_code == 404
    await make(argo)
    refused(await modify(argo, push), 400, "INVALID_ARGUMENT", "Invalid Subscription Arguments")


async def test_an_unknown_subscription_and_topic(argo: httpx.AsyncClient) -> None:
    refused(await modify(argo, {"pushEndpoint": ENDPOINT}), 404, "NOT_FOUND", "Subscription doesn't exist")
    refused(await argo.post(f"{SUB}:verifyPushEndpoint"), 404, "NOT_FOUND", "Subscription doesn't exist")
    body = {"topic": "projects/p/topics/x", "pushConfig": {"type": "smtp"}}
    refused(await argo.put(SUB, json=body), 404, "NOT_FOUND", "Topic doesn't exist")


async def test_a_taken_name_keeps_its_configuration(argo: httpx.AsyncClient) -> None:
    await make(argo)
    answer = await make(argo, {"pushEndpoint": ENDPOINT})
    refused(answer, 409, "ALREADY_EXISTS", "Subscription already exists")
    assert await config(argo) == NONE


async def test_what_a_change_does_not_name_stays(argo: httpx.AsyncClient) -> None:
    made = (await make(argo, {"pushEndpoint": ENDPOINT, "base64Decode": True})).json()["pushConfig"]
    later = await changed(argo, {"pushEndpoint": ENDPOINT, "maxMessages": 7})
    assert later == {**made, "maxMessages": 7}


async def test_a_new_endpoint_is_verified_anew(argo: httpx.AsyncClient, node: Node) -> None:
    made = (await make(argo, {"pushEndpoint": ENDPOINT})).json()["pushConfig"]
    later = await changed(argo, {"pushEndpoint": "https://e.test/other"})
    assert later["verificationHash"] != made["verificationHash"]
    assert later["authorizationHeader"] == made["authorizationHeader"]


async def test_authorization(argo: httpx.AsyncClient) -> None:
    made = (await make(argo, {"pushEndpoint": ENDPOINT})).json()["pushConfig"]
    autogen = {"pushEndpoint": ENDPOINT, "authorizationHeader": {"type": "autogen"}}
    fresh = await changed(argo, autogen)
    assert fresh["authorizationHeader"]["value"] != made["authorizationHeader"]["value"]
    assert fresh["verificationHash"] == made["verificationHash"]
    disabled = {"pushEndpoint": ENDPOINT, "authorizationHeader": {"type": "disabled"}}
    assert (await changed(argo, disabled))["authorizationHeader"] == {"type": "disabled"}
    assert (await changed(argo, {"pushEndpoint": ENDPOINT}))["authorizationHeader"] == {"type": "disabled"}


async def test_pushing_is_turned_off_and_on(argo: httpx.AsyncClient, node: Node) -> None:
    await make(argo, {"pushEndpoint": ENDPOINT})
    assert await changed(argo, {}) == NONE
    assert node.pushes.known == {}
    assert (await changed(argo, {"pushEndpoint": ENDPOINT}))["authorizationHeader"]["type"] == "autogen"


async def test_mattermost_is_verified_at_once(argo: httpx.AsyncClient) -> None:
    push = {
        "type": "mattermost",
        "mattermostUrl": "https://m.test/hook",
        "mattermostUsername": "u",
        "mattermostChannel": "c",
    }
    made = (await make(argo, push)).json()["pushConfig"]
    assert made == {
        **NONE,
        **push,
        "maxMessages": 1,
        "authorizationHeader": {"type": "disabled"},
        "retryPolicy": {"type": "linear", "period": 3000},
        "verified": True,
    }
    assert (await argo.get(SUB)).json()["pushStatus"] == f"Subscription {SUB} is currently active"
    answer = await argo.post(f"{SUB}:verifyPushEndpoint")
    refused(answer, 409, "CONFLICT", "Subscription is not in http push mode")


async def test_bounds(argo: httpx.AsyncClient) -> None:
    push = {"pushEndpoint": ENDPOINT, "maxMessages": 10**9, "retryPolicy": {"period": 10**12}}
    made = (await make(argo, push)).json()["pushConfig"]
    assert (made["maxMessages"], made["retryPolicy"]["period"]) == (1000, 24 * 3600 * 1000)
    assert (await changed(argo, {"pushEndpoint": ENDPOINT, "maxMessages": -1}))["maxMessages"] == 1


# Verification.


async def at(argo: httpx.AsyncClient, receiver: Receiver, path: str = "/in?key=1") -> str:
    """Make a subscription whose endpoint is the receiver; returns its hash."""
    answer = await make(argo, {"pushEndpoint": f"http://127.0.0.1:{receiver.port}{path}"})
    found: str = answer.json()["pushConfig"]["verificationHash"]
    return found


async def test_an_endpoint_that_knows_the_hash_is_verified(argo: httpx.AsyncClient, node: Node) -> None:
    async with receiving() as receiver:
        receiver.answer = answering(200, (await at(argo, receiver)).encode())
        answer = await argo.post(f"{SUB}:verifyPushEndpoint")
        assert (answer.status_code, answer.content) == (200, b"")
        assert [(got.method, got.target) for got in receiver.received] == [("GET", "/ams_verification_hash")]
        assert (await config(argo))["verified"] is True
        assert node.pushes.known[NAME].verified
        assert (await argo.get(SUB)).json()["pushStatus"] == f"Subscription {SUB} is currently active"
        again = await argo.post(f"{SUB}:verifyPushEndpoint")
        refused(again, 409, "CONFLICT", "Push endpoint is already verified")
        endpoint = f"http://127.0.0.1:{receiver.port}/in?key=1"
        assert (await changed(argo, {"pushEndpoint": endpoint}))["verified"] is True
        assert (await changed(argo, {"pushEndpoint": endpoint + "2"}))["verified"] is False


async def test_an_endpoint_that_does_not_is_not(argo: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        known = (await at(argo, receiver)).encode()
        for status, body, reason in (
            (404, known, "Wrong response status code"),
            (302, known, "Wrong response status code"),
            (200, b"", "Wrong verification hash"),
            (200, known + b"\n", "Wrong verification hash"),
            (200, known[:-1], "Wrong verification hash"),
        ):
            receiver.answer = answering(status, body)
            answer = await argo.post(f"{SUB}:verifyPushEndpoint")
            refused(answer, 401, "UNAUTHORIZED", f"Endpoint verification failed.{reason}")
        assert (await config(argo))["verified"] is False
    answer = await argo.post(f"{SUB}:verifyPushEndpoint")
    refused(answer, 401, "UNAUTHORIZED", "Endpoint verification failed.The connection failed.")


async def test_an_endpoint_inside_is_not_asked(argo: httpx.AsyncClient) -> None:
    await make(argo, {"pushEndpoint": "https://169.254.169.254/"})
    answer = await argo.post(f"{SUB}:verifyPushEndpoint")
    message = "Endpoint verification failed.The host has an address that may not be reached."
    refused(answer, 401, "UNAUTHORIZED", message)


async def test_what_is_pulled_is_not_verified(argo: httpx.AsyncClient) -> None:
    await make(argo)
    answer = await argo.post(f"{SUB}:verifyPushEndpoint")
    refused(answer, 409, "CONFLICT", "Subscription is not in http push mode")


async def test_an_endpoint_that_was_changed_while_it_was_asked_stays_unverified(
    argo: httpx.AsyncClient, node: Node
) -> None:
    async with receiving() as receiver:
        known = (await at(argo, receiver)).encode()

        async def slow(request: object, writer: object) -> None:
            await modify(argo, {"pushEndpoint": ENDPOINT})
            await answering(200, known)(request, writer)  # type: ignore[arg-type]

        receiver.answer = slow
        await argo.post(f"{SUB}:verifyPushEndpoint")
        assert (await config(argo))["verified"] is False


# Beside the configuration.


async def test_a_deleted_subscription_takes_its_configuration_along(argo: httpx.AsyncClient, node: Node) -> None:
    await make(argo, {"pushEndpoint": ENDPOINT})
    answer = await argo.delete(SUB)
    assert (answer.status_code, answer.content) == (200, b"")
    assert node.pushes.known == {}
    await make(argo, {"type": "mattermost", "mattermostUrl": "https://m.test/hook"})
    assert (await argo.delete(SUB)).json() == {"message": f"Subscription {SUB} deactivated"}
    assert (await make(argo)).json()["pushConfig"] == NONE


async def test_only_operators_and_push_workers_pull_what_is_pushed(argo: httpx.AsyncClient, node: Node) -> None:
    await make(argo, {"pushEndpoint": ENDPOINT})
    assert (await argo.post(f"{SUB}:pull", content="{}")).status_code == 200
    for role, status in (("consumer", 403), ("project_admin", 403), ("push_worker", 200)):
        body = {"projects": [{"project": "p", "roles": [role]}]}
        user = (await argo.post(f"/users/{role}", json=body)).json()
        await argo.post(f"{SUB}:modifyAcl", json={"authorized_users": [role]})
        answer = await argo.post(f"{SUB}:pull", content="{}", headers={"x-api-key": user["token"]})
        assert answer.status_code == status, (role, answer.text)


async def test_a_shared_one_is_pulled_beside(argo: httpx.AsyncClient, node: Node) -> None:
    await node.subscriptions.create(NAME, parse_topic("p/t"), SubscriptionSettings(kind=SubscriptionKind.SHARED))
    await modify(argo, {"pushEndpoint": ENDPOINT})
    body = {"projects": [{"project": "p", "roles": ["consumer"]}]}
    user = (await argo.post("/users/c", json=body)).json()
    await argo.post(f"{SUB}:modifyAcl", json={"authorized_users": ["c"]})
    answer = await argo.post(f"{SUB}:pull", content="{}", headers={"x-api-key": user["token"]})
    assert answer.status_code == 200, answer.text


async def test_where_pushing_is_off_everything_but_turning_it_off_is_refused(
    argo: httpx.AsyncClient, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(argo)
    object.__setattr__(node.config, "push", Push(enabled=False))
    disabled = "Push functionality is currently disabled"
    refused(await modify(argo, {"pushEndpoint": ENDPOINT}), 409, "CONFLICT", disabled)
    refused(await argo.post(f"{SUB}:verifyPushEndpoint"), 409, "CONFLICT", disabled)
    assert (await modify(argo, {})).status_code == 200
    await argo.delete(SUB)
    refused(await make(argo, {"pushEndpoint": ENDPOINT}), 409, "CONFLICT", disabled)
    assert (await argo.get(SUB)).status_code == 404
