import pytest
from management import api

from gateway.apigateway.application.policies import ALL, read_policy
from gateway.apigateway.configuration.definitions import Api, ApiLimits
from gateway.apigateway.configuration.definitions import Stage as Deployed
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.management.reach import MAX_POST_BYTES, Reaches
from gateway.apigateway.management.throttle import Throttle
from gateway.apigateway.ports import Stage

WHERE = {"region": "eu-west-1", "account": "123456789012"}
TWO = ApiGateway(apis=(api("chat", "prod", "test"), api("game", "play", limits=ApiLimits(message_bytes=200_000))))


def policy(resource: str, effect: str = "Allow") -> dict[str, str]:
    return {"Effect": effect, "Action": "execute-api:ManageConnections", "Resource": resource}


def test_the_path_of_a_stage_leads_to_that_stage() -> None:
    reaches = Reaches(TWO, {})
    for prefix in (b"/prod", b"/prod/", b"/%70rod"):
        assert reaches.of(prefix).within == Stage("chat", "prod")
    assert reaches.of(b"/play").message_bytes == 200_000
    assert reaches.of(b"/test").message_bytes == MAX_POST_BYTES


@pytest.mark.parametrize("prefix", [b"", b"/", b"/elsewhere", b"/a/b", b"/prod/more", b"/%ff"])
def test_any_other_path_leads_to_all_stages(prefix: bytes) -> None:
    reach = Reaches(TWO, {}).of(prefix)
    assert reach.within is None and len(reach.stages) == 3
    assert reach.message_bytes == 200_000


def test_the_name_of_a_stage_leads_to_it_where_no_other_has_it() -> None:
    stages = {"chat": ("v1", "/ws/v1"), "game": ("beta", "/game/beta"), "quiz": ("beta", "/quiz")}
    stages |= {"shop": ("live", "/live/shop"), "news": ("on", "/live")}
    apis = tuple(Api(name=name, stages=(Deployed(name=stage, path=path),)) for name, (stage, path) in stages.items())
    reaches = Reaches(ApiGateway(apis=apis), {})
    assert reaches.of(b"/v1").within == reaches.of(b"/ws/v1").within == Stage("chat", "v1")
    assert reaches.of(b"/beta").within is None
    assert reaches.of(b"/live").within == Stage("news", "on"), "what clients connect to comes first"


def test_an_only_stage_is_reached_by_any_path() -> None:
    assert Reaches(ApiGateway(apis=(api("chat", "prod"),)), {}).of(b"/a/b").within == Stage("chat", "prod")


def test_a_policy_is_asked_with_the_arn_of_the_stage() -> None:
    reaches = Reaches(TWO, {})
    reach = reaches.of(b"/prod")
    arn = "arn:aws:execute-api:eu-west-1:123456789012:chat/prod/POST/@connections/*"
    posts = read_policy([policy(arn)])
    assert reach.allows(posts, "POST", "x=", **WHERE)
    assert not reach.allows(posts, "GET", "x=", **WHERE)
    assert not reach.allows(posts, "DELETE", "x=", **WHERE)
    assert not reach.allows(posts, "POST", "x=", region="us-east-1", account="123456789012")
    assert not reaches.of(b"/test").allows(posts, "POST", "x=", **WHERE)


def test_a_call_to_all_stages_must_be_allowed_for_each() -> None:
    reach = Reaches(TWO, {}).of(b"")
    chat = policy("arn:aws:execute-api:*:*:chat/*")
    game = policy("arn:aws:execute-api:*:*:game/*")
    assert not reach.allows(read_policy([chat]), "POST", "x=", **WHERE)
    assert reach.allows(read_policy([chat, game]), "POST", "x=", **WHERE)
    denied = policy("arn:aws:execute-api:*:*:chat/test/*", effect="Deny")
    assert not reach.allows(read_policy([chat, game, denied]), "POST", "x=", **WHERE)


def test_a_node_without_stages_asks_for_a_policy_all_the_same() -> None:
    reach = Reaches(ApiGateway(), {}).of(b"/prod")
    assert reach.within is None and reach.message_bytes == MAX_POST_BYTES
    assert reach.allows(ALL, "POST", "x=", **WHERE)
    assert not reach.allows(read_policy([policy("arn:aws:execute-api:*:*:chat/*")]), "POST", "x=", **WHERE)


def test_a_call_counts_against_the_apis_that_it_may_reach() -> None:
    chat, game = Throttle(rate=1, burst=1, now=0), Throttle(rate=1, burst=1, now=0)
    reaches = Reaches(TWO, {"chat": chat, "game": game})
    assert list(reaches.of(b"/test").throttles) == [chat]
    assert list(reaches.of(b"").throttles) == [chat, game]
    assert not Reaches(TWO, {"chat": chat}).of(b"/play").throttles
