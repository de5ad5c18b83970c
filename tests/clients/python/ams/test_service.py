"""The service as a whole: what a new one holds, and that threads may share it."""

from concurrent.futures import ThreadPoolExecutor

from argo_stub import TOKEN, Stub

from headrace.ams import AmsHttpRequests, AmsMessage, ArgoMessagingService


def test_a_new_service_has_the_originals_attributes() -> None:
    ams = ArgoMessagingService("host:1234", token="t", project="P", authn_port=9)
    assert (ams.endpoint, ams.token, ams.project, ams.authn_port) == ("host:1234", "t", "P", 9)
    assert (ams.topics, ams.subs) == ({}, {})
    assert isinstance(ams, AmsHttpRequests)


def test_a_service_shows_no_token() -> None:
    assert "secret" not in repr(ArgoMessagingService("host", token="secret", project="P"))


def test_two_services_share_nothing() -> None:
    one, two = ArgoMessagingService("a", token="t"), ArgoMessagingService("b", token="t")
    one.set_pullopt("maxMessages", 5)
    assert two.get_pullopt("maxMessages") == "1"


def test_threads_share_a_service(stub: Stub) -> None:
    with ArgoMessagingService(stub.url, token=TOKEN, project="P") as ams:
        ams.create_topic("t")
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda n: ams.publish("t", AmsMessage(data=str(n))), range(100)))
        assert sorted(int(answer["messageIds"][0]) for answer in answers) == list(range(100))
        assert len({seen.connection for seen in stub.seen}) <= 9
