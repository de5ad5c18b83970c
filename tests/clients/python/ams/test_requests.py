"""One call: its headers, its retries, and its way through a list of servers."""

import gc
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from argo_stub import TOKEN, Authority, Fault, Stub

from headrace.ams import (
    AmsBalancerException,
    AmsConnectionException,
    AmsException,
    AmsHttpRequests,
    AmsServiceException,
    AmsTimeoutException,
    ArgoMessagingService,
)

UNAVAILABLE = Fault(503, b'{"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}')
MESSAGE = {"data": "eA=="}


def service(*stubs: Stub, **given: Any) -> ArgoMessagingService:
    return ArgoMessagingService([stub.url for stub in stubs], **{"token": TOKEN, "project": "P", **given})


def test_a_call_carries_the_token_and_the_callers_headers(ams: ArgoMessagingService, stub: Stub) -> None:
    mine = {"X-Mine": "1"}
    ams.list_topics(headers=mine, params={"pageSize": 5})
    (seen,) = stub.seen
    assert seen.headers["x-api-key"] == TOKEN
    assert seen.headers["x-mine"] == "1"
    assert seen.query == {"pageSize": ["5"]}
    assert mine == {"X-Mine": "1"}, "the caller's headers do not get the token"


def test_a_token_that_is_replaced_holds_from_the_next_call_on(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.assign_token("another\n", "", "")
    with pytest.raises(AmsServiceException):
        ams.list_topics()
    ams.token = TOKEN
    ams.list_topics()
    assert [seen.headers["x-api-key"] for seen in stub.seen] == ["another", TOKEN]


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ключ"])
def test_a_token_that_cannot_stand_in_a_header_is_refused_unnamed(token: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as refused:
        AmsHttpRequests("host", 8443, token=token)
    assert token not in str(refused.value)
    requests = AmsHttpRequests("host", 8443, token="good")
    requests.token = token
    with pytest.raises(ValueError, match="printable ASCII"):
        requests.do_get("https://host/v1/status", "api_status")


def test_names_are_quoted(ams: ArgoMessagingService, stub: Stub) -> None:
    with pytest.raises(AmsServiceException):
        ams.get_topic("a/b?c#d é")
    assert stub.seen[0].path == "/v1/projects/P/topics/a%2Fb%3Fc%23d%20%C3%A9"


def test_connections_are_kept_alive(ams: ArgoMessagingService, stub: Stub) -> None:
    for _ in range(5):
        ams.list_topics()
    assert {seen.connection for seen in stub.seen} == {0}


def test_a_closed_service_can_be_used_again(ams: ArgoMessagingService, stub: Stub) -> None:
    with ams:
        ams.list_topics()
    ams.list_topics()
    assert [seen.connection for seen in stub.seen] == [0, 1]


def test_a_forgotten_service_closes_its_connections(stub: Stub) -> None:
    ams = service(stub)
    ams.list_topics()
    pool = ams._pool
    assert pool._idle
    del ams
    gc.collect()
    assert not pool._idle


def test_the_waits_are_what_was_asked_for(ams: ArgoMessagingService, stub: Stub, naps: list[float]) -> None:
    ams.create_topic("t")
    stub.fail(":publish", UNAVAILABLE, times=3)
    ams.publish("t", MESSAGE, retry=3, retrysleep=7)
    assert naps == [7, 7, 7]
    naps.clear()
    stub.fail(":publish", UNAVAILABLE, times=4)
    with pytest.raises(AmsBalancerException):
        ams.publish("t", MESSAGE, retry=3, retrysleep=7, retrybackoff=2)
    assert naps == [1, 2, 4]


def test_a_get_and_a_put_take_retries_too(ams: ArgoMessagingService, stub: Stub, naps: list[float]) -> None:
    stub.fail("/topics", Fault(cut=True))
    ams.list_topics(retry=1, retrysleep=3)
    stub.fail("/topics/t", Fault(cut=True))
    ams.create_topic("t", retry=1, retrysleep=4)
    stub.fail("/topics/t", Fault(cut=True))
    ams.delete_topic("t", retry=1, retrysleep=5)
    assert naps == [3, 4, 5]


def test_a_retry_is_logged_without_the_token(
    ams: ArgoMessagingService, stub: Stub, naps: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    stub.fail(":pull", UNAVAILABLE)
    with caplog.at_level(logging.WARNING, "headrace.ams"), pytest.raises(AmsServiceException):
        ams.pull_sub("s", retry=1)
    assert "again in 60 seconds" in caplog.text
    assert TOKEN not in caplog.text


def test_without_retries_the_first_failure_is_raised(ams: ArgoMessagingService, stub: Stub, naps: list[float]) -> None:
    stub.fail(":publish", UNAVAILABLE)
    with pytest.raises(AmsBalancerException):
        ams.publish("t", MESSAGE)
    assert naps == []


def test_a_publish_is_stored_once_however_often_it_is_sent(
    ams: ArgoMessagingService, stub: Stub, naps: list[float]
) -> None:
    ams.create_topic("t")
    for fault in (Fault(cut=True, after=True), Fault(504, UNAVAILABLE.body, after=True)):
        stub.fail(":publish", fault)
        sent = ams.publish("t", MESSAGE, retry=2)
        assert len(sent["messageIds"]) == 1
    assert len(stub.argo.topics["P", "t"].messages) == 2
    keys = [seen.headers["idempotency-key"] for seen in stub.to(":publish")]
    assert len(keys) == 4
    assert len(set(keys)) == 2


def test_a_server_that_is_gone_is_passed_over(cluster: list[Stub]) -> None:
    ams = service(*cluster)
    cluster[0].close()
    ams.create_topic("t")
    assert ams.publish("t", MESSAGE) == {"messageIds": ["0"]}
    assert len(cluster[1].seen) == 2
    cluster[1].close()
    assert ams.publish("t", MESSAGE) == {"messageIds": ["1"]}
    assert ams.endpoint == cluster[0].endpoint


def test_a_server_that_is_unavailable_is_passed_over_and_stays_so(cluster: list[Stub]) -> None:
    ams = service(*cluster)
    ams.create_topic("t")
    cluster[0].fail(":publish", UNAVAILABLE)
    ams.publish("t", MESSAGE)
    ams.publish("t", MESSAGE)
    assert [len(stub.to(":publish")) for stub in cluster] == [1, 2, 0]


def test_the_same_key_goes_to_the_next_server(cluster: list[Stub]) -> None:
    ams = service(*cluster)
    ams.create_topic("t")
    cluster[0].fail(":publish", Fault(cut=True, after=True))
    assert ams.publish("t", MESSAGE) == {"messageIds": ["0"]}
    assert len(cluster[0].argo.topics["P", "t"].messages) == 1


def test_what_may_have_been_done_is_not_asked_of_another_server(cluster: list[Stub]) -> None:
    ams = service(*cluster)
    cluster[0].fail("/topics/t", Fault(cut=True, after=True))
    with pytest.raises(AmsConnectionException):
        ams.create_topic("t")
    assert [len(stub.seen) for stub in cluster] == [1, 0, 0]
    assert ams.has_topic("t")


def test_a_refusal_is_final_on_every_server(cluster: list[Stub]) -> None:
    with pytest.raises(AmsServiceException):
        service(*cluster).get_topic("missing")
    assert [len(stub.seen) for stub in cluster] == [1, 0, 0]


def test_an_attempt_failed_when_all_servers_did(cluster: list[Stub], naps: list[float]) -> None:
    ams = service(*cluster)
    for stub in cluster:
        stub.fail(":pull", UNAVAILABLE, times=2)
    with pytest.raises(AmsBalancerException):
        ams.pull_sub("s", retry=1, retrysleep=9)
    assert [len(stub.to(":pull")) for stub in cluster] == [2, 2, 2]
    assert naps == [9]


def test_a_late_ack_is_not_tried_elsewhere(cluster: list[Stub]) -> None:
    cluster[0].fail(":acknowledge", Fault(408, b'{"error": {"code": 408, "message": "ack timeout"}}'))
    with pytest.raises(AmsTimeoutException):
        service(*cluster).ack_sub("s", ["x"])
    assert [len(stub.seen) for stub in cluster] == [1, 0, 0]


def test_a_certificates_token_is_asked_of_each_server_in_turn(tls_stub: Stub, authority: Authority) -> None:
    ams = ArgoMessagingService(
        ["unknown.invalid:1234", "https://localhost:5678"],
        token=TOKEN,
        authn_port=tls_stub.port,
    )
    token = ams.auth_via_cert(str(authority.cert), str(authority.key), verify=str(authority.ca))
    assert token == TOKEN
    assert tls_stub.seen[0].path == "/v1/service-types/ams/hosts/localhost:authx509"


@pytest.mark.parametrize("body", [b"{}", b'{"token": "two words"}'])
def test_an_answer_without_a_good_token_is_refused(tls_stub: Stub, authority: Authority, body: bytes) -> None:
    tls_stub.fail(":authx509", Fault(200, body))
    ams = ArgoMessagingService("localhost", token=TOKEN, authn_port=tls_stub.port)
    with pytest.raises((AmsServiceException, ValueError)):
        ams.auth_via_cert(str(authority.cert), str(authority.key), verify=str(authority.ca))


def test_a_certificate_that_the_service_does_not_see_is_neither(
    tls_stub: Stub, authority: Authority, trusted: object
) -> None:
    refused = {"error": {"code": 400, "message": "No certificate provided", "status": "BAD REQUEST"}}
    tls_stub.fail(":authx509", Fault(400, json.dumps(refused).encode()))
    with pytest.raises(AmsServiceException, match="No token provided"):
        ArgoMessagingService("localhost", cert=str(authority.cert), key=str(authority.key), authn_port=tls_stub.port)


def test_other_refusals_of_the_certificate_pass_as_they_are(
    tls_stub: Stub, authority: Authority, trusted: object
) -> None:
    refused = {"error": {"code": 404, "message": "Binding was not found", "status": "NOT FOUND"}}
    tls_stub.fail(":authx509", Fault(404, json.dumps(refused).encode()))
    with pytest.raises(AmsServiceException, match="Binding was not found"):
        ArgoMessagingService("localhost", cert=str(authority.cert), key=str(authority.key), authn_port=tls_stub.port)


def test_a_redirect_is_refused_and_not_followed(ams: ArgoMessagingService, stub: Stub) -> None:
    stub.fail("/topics", Fault(302, b""))
    with pytest.raises(AmsServiceException) as refused:
        ams.list_topics()
    assert refused.value.code == 302
    assert len(stub.seen) == 1


def test_an_unknown_route_or_option_is_refused_before_anything_is_sent(
    ams: ArgoMessagingService, seen: Callable[[], list[str]]
) -> None:
    with pytest.raises(AmsException, match="no route"):
        ams.do_get("http://host/v1/x", "topic_dance")
    with pytest.raises(TypeError, match="proxies"):
        ams.list_topics(proxies={})  # type: ignore[call-arg]
    assert seen() == []


def test_an_override_of_a_lower_call_sees_every_call(stub: Stub) -> None:
    made: list[str] = []

    class Watched(ArgoMessagingService):
        def do_post(self, url: str, body: Any, route_name: str, *args: Any, **options: Any) -> Any:
            made.append(route_name)
            return super().do_post(url, body, route_name, *args, **options)

    ams = Watched(stub.url, token=TOKEN, project="P")
    ams.create_topic("t")
    ams.publish("t", MESSAGE)
    assert made == ["topic_publish"]
