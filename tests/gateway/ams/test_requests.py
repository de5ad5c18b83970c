"""What a handler is given."""

from broker.names import ProjectName, SubscriptionName, TopicName
from broker.rights import Principal
from gateway.ams.requests import Request, Target
from gateway.context import Context


def test_a_request_names_what_its_path_named(context: Context) -> None:
    target = Target(ProjectName("p"), TopicName("p/t"), SubscriptionName("p/s"), {"user": "ann"})
    request = Request(context, Principal("who"), target, {}, b"")
    assert (request.project, request.subscription, request.catalog) == ("p", "p/s", context.catalog)
