"""ARGO's error envelope."""

import inspect

import orjson
import pytest

import broker.errors
from broker.errors import (
    CallerError,
    HeadraceError,
    LimitExceeded,
    OutOfMemory,
    ServerError,
    StaleSequence,
    TooLarge,
    Unavailable,
    UnknownOutcome,
    UnknownTopic,
)
from broker.users import AlreadyMember, NotMember, UnknownMembers, UnknownRegistration, UnknownUser
from gateway.ams import errors

FORBIDDEN = "Access to this resource is forbidden"

EVERY = [
    kind
    for _, kind in inspect.getmembers(broker.errors, inspect.isclass)
    if issubclass(kind, HeadraceError) and kind not in (HeadraceError, CallerError, ServerError)
]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.code)
def test_every_refusal_has_an_envelope_whose_code_is_the_status(kind: type[HeadraceError]) -> None:
    answer = errors.answer_to(kind("A reason."))
    error = orjson.loads(answer.body)["error"]
    assert error["code"] == answer.status
    assert error["message"]
    assert error["status"] == error["status"].upper()


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.code)
def test_whose_fault_it_is_shows_in_the_status(kind: type[HeadraceError]) -> None:
    not_served_here = kind in (broker.errors.UnknownOperation, broker.errors.StaleSequence)
    not_served_here |= kind in (broker.errors.AlreadySubscribed, broker.errors.NotSubscribed)
    if not not_served_here:
        assert (errors.answer_to(kind()).status < 500) == issubclass(kind, CallerError)


@pytest.mark.parametrize(
    ("refusal", "status", "word", "message", "retry"),
    [
        (UnknownTopic("Ours."), 404, "NOT_FOUND", "Topic doesn't exist", None),
        (TooLarge("Ours."), 413, "INVALID_ARGUMENT", "Message size is too large", None),
        (LimitExceeded("Ours.", retry_ms=1500), 429, "RESOURCE_EXHAUSTED", "Ours.", b"2"),
        (Unavailable("Ours.", retry_ms=1000), 503, "UNAVAILABLE", "Ours.", b"1"),
        (OutOfMemory("Ours."), 503, "RESOURCE_EXHAUSTED", "Ours.", b"10"),
        (UnknownOutcome("Ours."), 504, "UNKNOWN_OUTCOME", "Ours.", None),
        (UnknownUser("Ours."), 404, "NOT_FOUND", "User doesn't exist", None),
        (UnknownMembers("User(s): a, b do not exist"), 404, "NOT_FOUND", "User(s): a, b do not exist", None),
        (UnknownRegistration("Ours."), 404, "NOT_FOUND", "User registration doesn't exist", None),
        (NotMember(), 403, "FORBIDDEN", f"{FORBIDDEN}. User is not a member of the project", None),
        (AlreadyMember("Ours."), 409, "CONFLICT", "User is already a member of the project", None),
        (StaleSequence("Ours."), 500, "INTERNAL_SERVER_ERROR", "Backend Error", None),
    ],
)
def test_words_texts_and_when_to_come_back(
    refusal: HeadraceError, status: int, word: str, message: str, retry: bytes | None
) -> None:
    answer = errors.answer_to(refusal)
    assert orjson.loads(answer.body)["error"] == {"code": status, "message": message, "status": word}
    assert dict(answer.headers).get(b"retry-after") == retry


def test_the_contracts_own_texts() -> None:
    assert errors.invalid_name("topic").reason == "Invalid topic name"
    assert errors.invalid_arguments("Message").reason == "Invalid Message Arguments"
    assert errors.invalid_body().word == "BAD_REQUEST"
    assert errors.already_exists("Project").reason == "Project already exists"
    assert errors.answer_to(errors.wrong_verb(["GET", "PUT"])).headers == [(b"allow", b"GET, PUT")]
