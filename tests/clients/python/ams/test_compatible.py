"""An application that changes one import: the same names, signatures and defaults, and the same behaviour.

The originals are those of the installed `argo-ams-library`; each behaviour test runs with both libraries.
"""

import inspect
import json
import sys
from collections.abc import Callable
from types import CodeType, FrameType, ModuleType
from typing import Any

import argo_ams_library
import argo_ams_library.ams
import pytest
from ams_scenarios import SCENARIOS, Ground
from argo_stub import TOKEN, Authority, Fault, Stub

import headrace.ams

OURS = {"SharedPolicy"}
NAMES = sorted(set(headrace.ams.__all__) - OURS)
OPERATORS = ("__init__", "__call__", "__str__")


def original(name: str) -> Any:
    """The original's class; two of them are only found one module deeper."""
    return getattr(argo_ams_library, name, None) or getattr(argo_ams_library.ams, name)


def public_functions(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name in OPERATORS
    }


METHODS = [(name, method) for name in NAMES if name != "AmsException" for method in public_functions(original(name))]
"""`AmsException` takes whatever an exception takes."""


def test_every_class_of_the_original_is_here() -> None:
    theirs = {
        name
        for name, value in vars(argo_ams_library).items()
        if inspect.isclass(value) and name.startswith(("Ams", "Argo"))
    }
    assert theirs | {"AmsHttpRequests", "AmsUserPage"} == set(NAMES)
    assert all(inspect.isclass(getattr(headrace.ams, name)) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_classes_descend_from_the_same(name: str) -> None:
    ours, theirs = getattr(headrace.ams, name), original(name)
    bases = {base.__name__ for base in theirs.__mro__ if base.__name__ in NAMES}
    assert bases <= {base.__name__ for base in ours.__mro__}
    assert issubclass(ours, Exception) == issubclass(theirs, Exception)


@pytest.mark.parametrize(("name", "method"), METHODS, ids=[f"{name}.{method}" for name, method in METHODS])
def test_methods_take_the_same_arguments(name: str, method: str) -> None:
    """What is ours alone is keyword-only and has a default."""
    ours = inspect.signature(getattr(getattr(headrace.ams, name), method)).parameters.values()
    theirs = inspect.signature(getattr(original(name), method)).parameters.values()
    shared = [(p.name, p.kind, p.default) for p in ours if p.kind is not p.KEYWORD_ONLY]
    assert shared == [(p.name, p.kind, p.default) for p in theirs]
    assert all(p.default is not p.empty for p in ours if p.kind is p.KEYWORD_ONLY)


def test_an_object_has_the_originals_attributes(trusted: object, tls_stub: Stub) -> None:
    def attributes(library: ModuleType) -> dict[str, set[str]]:
        ams = library.ArgoMessagingService(endpoint=tls_stub.endpoint, token=TOKEN, project="P")
        topic = ams.topic("t")
        found = [ams, topic, topic.subscription("s"), library.AmsUser(), library.AmsUserProject()]
        return {type(one).__name__: {name for name in vars(one) if not name.startswith("_")} for one in found}

    theirs, ours = attributes(argo_ams_library), attributes(headrace.ams)
    for name in theirs:
        assert theirs[name] - ours[name] <= ERROR_TABLES, name


ERROR_TABLES = {"ams_errors_route", "balancer_errors_route"}
"""The original's tables of expected statuses; ours are not part of the API."""


def test_routes_lead_to_the_same_addresses(trusted: object, tls_stub: Stub) -> None:
    theirs = argo_ams_library.ArgoMessagingService(endpoint=tls_stub.endpoint, token=TOKEN)
    ours = headrace.ams.ArgoMessagingService(endpoint=tls_stub.endpoint, token=TOKEN)
    assert ours.endpoint == theirs.endpoint
    assert {name: ours.routes.get(name) for name in theirs.routes} == theirs.routes


@pytest.fixture(params=[argo_ams_library, headrace.ams], ids=lambda library: library.__name__)
def ground(request: pytest.FixtureRequest, trusted: object, tls_stub: Stub) -> Ground:
    return Ground(request.param, tls_stub.endpoint, TOKEN, "P")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario: Callable[[Ground], None], ground: Ground) -> None:
    scenario(ground)


def test_the_scenarios_call_every_method(trusted: object, tls_stub: Stub) -> None:
    """So that whoever runs them, against whatever server, has run the whole library."""
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            called.add(frame.f_code)

    for scenario in SCENARIOS:
        sys.setprofile(note)
        try:
            scenario(Ground(argo_ams_library, tls_stub.endpoint, TOKEN, "P"))
        finally:
            sys.setprofile(None)
    methods = {
        f"{name}.{method}": function.__code__
        for name in ("ArgoMessagingService", "AmsTopic", "AmsSubscription", "AmsMessage", "AmsUser", "AmsUserProject")
        for method, function in public_functions(original(name)).items()
    }
    assert {name for name, code in methods.items() if code not in called} == NEED_A_CERTIFICATE


NEED_A_CERTIFICATE = {"ArgoMessagingService.auth_via_cert"}


ERROR = b'{"error": {"code": %d, "message": "m", "status": "S"}}'

KINDS = [
    (500, "AmsBalancerException"),
    (502, "AmsBalancerException"),
    (503, "AmsBalancerException"),
    (504, "AmsTimeoutException"),
    (408, "AmsTimeoutException"),
    (400, "AmsServiceException"),
    (401, "AmsServiceException"),
    (403, "AmsServiceException"),
    (404, "AmsServiceException"),
    (413, "AmsServiceException"),
    (429, "AmsServiceException"),
]

Call = tuple[str, Callable[..., object]]

CALLS: list[Call] = [
    (":publish", lambda ams, **options: ams.publish("t", {"data": "eA=="}, **options)),
    (":pull", lambda ams, **options: ams.pull_sub("s", **options)),
    (":acknowledge", lambda ams, **options: ams.ack_sub("s", ["projects/P/subscriptions/s:0"], **options)),
]


@pytest.mark.parametrize("call", CALLS, ids=[path for path, _ in CALLS])
@pytest.mark.parametrize(("status", "kind"), KINDS, ids=[str(status) for status, _ in KINDS])
def test_an_error_becomes_the_same_exception(
    ground: Ground, tls_stub: Stub, call: Call, status: int, kind: str
) -> None:
    path, made = call
    tls_stub.fail(path, Fault(status, ERROR % status))
    with pytest.raises(ground.library.AmsException) as caught:
        made(ground.ams)
    assert type(caught.value).__name__ == kind
    assert (caught.value.code, caught.value.status) == (status, "S")


@pytest.mark.parametrize("call", CALLS, ids=[path for path, _ in CALLS])
@pytest.mark.parametrize("fault", [Fault(503, ERROR % 503), Fault(504, ERROR % 504), Fault(408, ERROR % 408)])
@pytest.mark.parametrize("options", [{"retry": 2, "retrysleep": 0.01}, {"retry": 2, "retrybackoff": 0.01}])
def test_retries_try_as_often(
    ground: Ground, tls_stub: Stub, call: Call, fault: Fault, options: dict[str, float]
) -> None:
    ams, (path, made) = ground.ams, call
    ams.create_topic("t")
    ams.create_sub("s", "t")
    ams.publish("t", {"data": "eA=="})
    ams.pull_sub("s")
    tls_stub.seen.clear()

    tls_stub.fail(path, fault, times=2)
    made(ams, **options)
    assert len(tls_stub.to(path)) == 3
    tls_stub.fail(path, fault, times=3)
    with pytest.raises(ground.library.AmsServiceException):
        made(ams, **options)
    assert len(tls_stub.to(path)) == 6


def test_a_refusal_is_never_retried(ground: Ground, tls_stub: Stub) -> None:
    with pytest.raises(ground.library.AmsServiceException):
        ground.ams.publish("missing", {"data": "eA=="}, retry=3, retrysleep=0.01)
    assert len(tls_stub.to(":publish")) == 1


def test_nobody_there_is_a_connection_exception(ground: Ground, tls_stub: Stub) -> None:
    ams = ground.ams
    tls_stub.close()
    with pytest.raises(ground.library.AmsConnectionException, match=r"While trying the \[topic_get\]"):
        ams.get_topic("t")


def test_silence_is_a_connection_exception(ground: Ground, tls_stub: Stub) -> None:
    tls_stub.fail(":pull", Fault(hang_s=1.0))
    with pytest.raises(ground.library.AmsConnectionException):
        ground.ams.pull_sub("s", timeout=0.05)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_that_nobody_vouches_for_is_a_connection_exception(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ground.library.AmsConnectionException):
        ground.ams.get_topic("t")
    assert ground.ams.has_topic("t", verify=False) is False


def test_a_certificate_is_exchanged_for_a_token(ground: Ground, tls_stub: Stub, authority: Authority) -> None:
    ams = ground.library.ArgoMessagingService(
        endpoint="localhost",
        project="P",
        cert=str(authority.cert),
        key=str(authority.key),
        authn_port=tls_stub.port,
    )
    assert ams.token == TOKEN
    assert "x-api-key" not in tls_stub.seen[-1].headers


def test_neither_token_nor_certificate_is_refused_before_anything_is_sent(ground: Ground, tls_stub: Stub) -> None:
    with pytest.raises(ground.library.AmsServiceException) as refused:
        ground.library.ArgoMessagingService(endpoint=tls_stub.endpoint, project="P")
    assert refused.value.code == 400
    assert "No token provided" in refused.value.msg
    assert tls_stub.seen == []


def test_the_lower_calls_take_a_url_and_a_routes_name(ground: Ground) -> None:
    ams = ground.ams
    topics = ams.routes["topic_list"][1].format(ams.endpoint, "P")
    topic = ams.routes["topic_create"][1].format(ams.endpoint, "P", "t")
    publish = ams.routes["topic_publish"][1].format(ams.endpoint, "P", "t")
    assert ams.do_put(topic, "", "topic_create")["name"] == "/projects/P/topics/t"
    assert ams.do_post(publish, '{"messages": [{"data": "eA=="}]}', "topic_publish") == {"messageIds": ["0"]}
    assert len(ams.do_get(topics, "topic_list", params={"pageSize": 1}, headers={"X-Mine": "1"})["topics"]) == 1
    assert ams.do_delete(topic, "topic_delete") == {}


def test_a_message_is_a_template(ground: Ground) -> None:
    message = ground.library.AmsMessage(attributes={"a": "1"})
    assert message(data="x") == {"attributes": {"a": "1"}, "data": "eA=="}
    assert message(data="y", attributes={"b": "2"}) == {"attributes": {"b": "2"}, "data": "eQ=="}
    message.set_attr("c", "3")
    message.set_data("z")
    assert str(message) == str({"attributes": {"b": "2", "c": "3"}, "data": "eg=="})
    assert message.get_data() == b"z"
    with pytest.raises(ground.library.AmsMessageException):
        ground.library.AmsMessage(data=5)
    with pytest.raises(ground.library.AmsMessageException):
        ground.library.AmsMessage(data="a", b64enc=False).get_data()


def test_a_user_is_written_and_read_alike(ground: Ground) -> None:
    library = ground.library
    place = library.AmsUserProject(project="P", roles=["consumer"])
    user = library.AmsUser(name="u", projects=[place], firstname="F", lastname="L", organization="O", description="D")
    user.email, user.service_roles = "e@example.org", ["service_admin"]
    written = user.to_json()
    read = library.AmsUser().load_from_dict({**json.loads(written), "uuid": "1", "created_by": "me"})
    assert (read.firstname, read.lastname, read.organization, read.description) == ("F", "L", "O", "D")
    assert (read.uuid, read.created_by, read.email, read.service_roles) == (
        "1",
        "me",
        "e@example.org",
        ["service_admin"],
    )
    assert (read.projects[0].project, read.projects[0].roles, read.projects[0].topics) == ("P", ["consumer"], [])
    for wrong in ({"roles": [1]},):
        with pytest.raises(ValueError):
            library.AmsUserProject(**wrong)
    for wrong in ({"projects": ["P"]}, {"service_roles": [1]}):
        with pytest.raises(ValueError):
            library.AmsUser(**wrong)
