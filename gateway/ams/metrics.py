"""Metrics of topics, subscriptions, projects and of this node (contract ams.md 4.1 and 4.10).

Messages and days are exact, whatever retention took since. Bytes are of stored envelopes. What a subscription delivered
counts at the pull, so redeliveries count again.
"""

import asyncio

import orjson

from broker.errors import UnknownTopic
from broker.history import History
from broker.names import ProjectName, TopicName, local_of
from broker.traffic import added
from gateway.ams import measures
from gateway.ams.measures import Document
from gateway.ams.requests import Request
from gateway.ams.table import Row
from gateway.ams.wire import zulu_seconds
from gateway.context import Context
from gateway.vitals import vitals

ASKED_AT_ONCE = 50
"""Topics of a project whose traffic is asked for at the same time."""


async def topic(request: Request) -> bytes:
    name, at = request.target.topic, zulu_seconds(request.context.now_ms())
    traffic = await request.catalog.traffic(name)
    subscriptions = await request.context.subscriptions.of_topic(name)
    local = local_of(name)
    return _shown(
        measures.counter("topic.number_of_subscriptions", local, len(subscriptions), at=at),
        measures.counter("topic.number_of_messages", local, traffic.messages, at=at),
        measures.counter("topic.number_of_bytes", local, traffic.bytes, at=at),
        measures.series("topic.number_of_daily_messages", local, traffic.days),
        measures.rate("topic.publishing_rate", local, traffic.rate, at_ms=traffic.last_ms),
    )


async def subscription(request: Request) -> bytes:
    """The rate is that of pulls on this node."""
    info = await request.context.subscriptions.get(request.subscription)
    local, at = local_of(request.subscription), zulu_seconds(request.context.now_ms())
    pace = request.rates.of(request.subscription)
    return _shown(
        measures.counter("subscription.number_of_messages", local, info.delivered, at=at),
        measures.counter("subscription.number_of_bytes", local, info.delivered_bytes, at=at),
        measures.rate("subscription.consumption_rate", local, pace.rate, at_ms=pace.last_ms),
    )


async def project(request: Request) -> bytes:
    context, name = request.context, request.project
    at = zulu_seconds(context.now_ms())
    topics = await request.catalog.topics(name)
    subscriptions = await context.subscriptions.list(name)
    members = await context.accounts.users(name)
    grants = await context.accounts.grants(members)
    shown = [
        measures.counter("project.number_of_topics", name, len(topics), at=at),
        measures.counter("project.number_of_subscriptions", name, len(subscriptions), at=at),
    ]
    for what in ("topics", "subscriptions"):
        for member in sorted(members, key=lambda user: user.name):
            listed = getattr(grants[(member.uuid, name)], what)
            if listed:
                resource = f"{name}.{member.name}"
                shown.append(measures.counter(f"project.user.number_of_{what}", resource, len(listed), at=at))
    days = await days_of(context, name, [info.name for info in topics])
    return _shown(*shown, measures.series("project.number_of_daily_messages", name, days))


async def node(request: Request) -> bytes:
    return orjson.dumps(operational(request.context))


def operational(context: Context) -> Document:
    """Return the metrics of the node that answers."""
    seen, at = vitals(), zulu_seconds(context.now_ms())
    host = context.config.name or context.config.host
    shown = [
        measures.percentage("ams_node.cpu_usage", host, seen.cpu, at=at),
        measures.percentage("ams_node.memory_usage", host, seen.memory, at=at),
    ]
    return {"metrics": shown}


async def days_of(context: Context, name: ProjectName, topics: list[TopicName]) -> dict[int, int]:
    """Return a project's messages by day, of the topics that were deleted too."""
    found = [await History(context.accounts.records).days(name)]
    for start in range(0, len(topics), ASKED_AT_ONCE):
        found += await asyncio.gather(*(_days(context, each) for each in topics[start : start + ASKED_AT_ONCE]))
    return added(found)


async def _days(context: Context, name: TopicName) -> dict[int, int]:
    try:
        return dict((await context.catalog.traffic(name)).days)
    except UnknownTopic:
        return {}


def _shown(*metrics: Document) -> bytes:
    return orjson.dumps({"metrics": metrics})


ROUTES = (
    Row("GET", "/metrics", "ams:metrics", node),
    Row("GET", "/projects/{project}:metrics", "projects:metrics", project),
    Row("GET", "/projects/{project}/topics/{topic}:metrics", "topics:metrics", topic),
    Row("GET", "/projects/{project}/subscriptions/{subscription}:metrics", "subscriptions:metrics", subscription),
)
