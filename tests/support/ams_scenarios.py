"""What an application does with ARGO's API, as functions that run with `argo-ams-library` and with `headrace.ams`.

Each takes a `Ground` and asserts what both libraries promise. They run against a stub and against real nodes.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from secrets import token_hex
from types import ModuleType
from typing import Any

import pytest

POISON = {"quote": 'a "b" c', "backslash": "\\n\\", "nul": "a\0b", "emoji": "🌊é", "empty-ish": " "}


@dataclass
class Ground:
    """A library, a server for it and a project there. Names are made anew for each scenario."""

    library: ModuleType
    endpoint: str
    token: str
    project: str
    _numbers: Any = field(default_factory=count)
    _run: str = field(default_factory=lambda: token_hex(4))

    @property
    def bare(self) -> tuple[type[Exception], ...]:
        """What the original raises instead of its own exceptions, for statuses that it did not expect on a route."""
        return (KeyError,) if self.library.__name__ == "argo_ams_library" else ()

    @property
    def ams(self) -> Any:
        return self.service()

    def service(self, *, token: str | None = None, project: str | None = None) -> Any:
        return self.library.ArgoMessagingService(
            endpoint=self.endpoint, token=token or self.token, project=project or self.project
        )

    def name(self, word: str) -> str:
        return f"{word}-{self._run}-{next(self._numbers)}"


def topics(ground: Ground) -> None:
    ams, name = ground.ams, ground.name("t")
    assert ams.has_topic(name) is False
    made = ams.create_topic(name)
    assert made["name"] == f"/projects/{ground.project}/topics/{name}"
    with pytest.raises(ground.library.AmsServiceException) as clash:
        ams.create_topic(name)
    assert (clash.value.code, clash.value.status) == (409, "ALREADY_EXISTS")
    assert clash.value.msg == "While trying the [topic_create]: Topic already exists"

    topic = ams.topic(name)
    assert isinstance(topic, ground.library.AmsTopic)
    assert (topic.name, topic.fullname) == (name, made["name"])
    assert ams.topic(name) is ams.get_topic(name, retobj=True) is topic
    assert ams.has_topic(name) is True
    assert ams.get_topic(name)["name"] == made["name"]
    assert made["name"] in [one["name"] for one in ams.list_topics()["topics"]]
    assert name in [one.name for one in ams.iter_topics()]
    another = ams.create_topic(ground.name("t"), retobj=True)
    assert isinstance(another, ground.library.AmsTopic)

    topic.delete()
    assert ams.has_topic(name) is False
    with pytest.raises(ground.library.AmsServiceException) as gone:
        ams.get_topic(name)
    assert (gone.value.code, gone.value.status) == (404, "NOT_FOUND")
    another.delete()


def subscriptions(ground: Ground) -> None:
    ams, name = ground.ams, ground.name("s")
    topic = ams.topic(ground.name("t"))
    assert ams.has_sub(name) is False
    sub = topic.subscription(name, ackdeadline=20)
    assert isinstance(sub, ground.library.AmsSubscription)
    assert (sub.name, sub.topic, sub.ackdeadline) == (name, topic, 20)
    assert sub.fullname == f"/projects/{ground.project}/subscriptions/{name}"
    assert sub.push_endpoint == ""
    assert topic.subscription(name) is ams.get_sub(name, retobj=True) is sub
    with pytest.raises(ground.library.AmsServiceException) as clash:
        ams.create_sub(name, topic.name)
    assert clash.value.code == 409
    with pytest.raises(ground.library.AmsServiceException) as missing:
        ams.create_sub(ground.name("s"), ground.name("t"))
    assert missing.value.code == 404

    made = ams.create_sub(ground.name("s"), topic.name)
    assert made["topic"] == topic.fullname
    assert made["ackDeadlineSeconds"] == 10
    assert name in [one["name"].rpartition("/")[2] for one in ams.list_subs()["subscriptions"]]
    assert {one.name for one in topic.iter_subs()} == {name, made["name"].rpartition("/")[2]}
    assert name in [one.name for one in ams.iter_subs()]

    sub.delete()
    assert ams.has_sub(name) is False
    assert name not in [one.name for one in topic.iter_subs()]
    topic.delete()


def messages(ground: Ground) -> None:
    ams, library = ground.ams, ground.library
    topic = ams.topic(ground.name("t"))
    sub = topic.subscription(ground.name("s"))
    first = topic.publish(library.AmsMessage(data="one", attributes=POISON))
    assert first == {"messageIds": ["0"]}
    several = [
        library.AmsMessage(data=b"\x00\xff"),
        library.AmsMessage(b64enc=False, data="dHdv"),
        library.AmsMessage(attributes={"only": "these"}),
    ]
    assert topic.publish(several) == {"messageIds": ["1", "2", "3"]}
    assert ams.publish(topic.name, {"data": "not base64!", "attributes": {}}) == {"messageIds": ["4"]}

    pulled = sub.pull(5, return_immediately=True)
    assert [ack for ack, _ in pulled] == [f"projects/{ground.project}/subscriptions/{sub.name}:{n}" for n in range(5)]
    texts = [message for _, message in pulled]
    assert [message.get_msgid() for message in texts] == ["0", "1", "2", "3", "4"]
    assert [message.get_data() for message in texts[:3]] == [b"one", b"\x00\xff", b"two"]
    assert texts[0].get_attr() == POISON
    assert texts[3].get_attr() == {"only": "these"}
    assert texts[4].dict()["data"] == "not base64!"
    assert json.loads(texts[0].json())["attributes"] == POISON
    assert datetime.fromisoformat(texts[0].get_publishtime()).tzinfo is not None

    again = sub.pull(2, return_immediately=True)
    assert [message.get_msgid() for _, message in again] == ["0", "1"]
    assert sub.ack([again[0][0]]) is True
    assert [message.get_msgid() for _, message in sub.pull(1, return_immediately=True)] == ["1"]
    assert [message.get_msgid() for message in sub.pullack(10, return_immediately=True)] == ["1", "2", "3", "4"]
    assert sub.pull(10, return_immediately=True) == []
    assert sub.pullack(10, return_immediately=True) == []
    sub.delete()
    topic.delete()


def templates(ground: Ground) -> None:
    ams = ground.ams
    topic = ams.topic(ground.name("t"))
    sub = topic.subscription(ground.name("s"))
    message = ground.library.AmsMessage(attributes={"kind": "reading"})
    for data in ("20.1", "20.2"):
        topic.publish(message(data=data))
    message.set_attr("last", "yes")
    message.set_data("20.3")
    topic.publish(message)
    found = sub.pullack(3, return_immediately=True)
    assert [one.get_data() for one in found] == [b"20.1", b"20.2", b"20.3"]
    assert [one.get_attr() for one in found[1:]] == [{"kind": "reading"}, {"kind": "reading", "last": "yes"}]
    assert "reading" in str(found[0])
    sub.delete()
    topic.delete()


def pull_options(ground: Ground) -> None:
    ams = ground.ams
    assert (ams.get_pullopt("maxMessages"), ams.get_pullopt("returnImmediately")) == ("1", "false")
    ams.set_pullopt("maxMessages", 7)
    assert ams.get_pullopt("maxMessages") == "7"
    topic = ams.topic(ground.name("t"))
    sub = topic.subscription(ground.name("s"))
    topic.publish([ground.library.AmsMessage(data=str(n)) for n in range(3)])
    assert len(ams.pull_sub(sub.name, num=2, return_immediately=True)) == 2
    assert ams.get_pullopt("maxMessages") == "7"
    assert len(ams.pullack_sub(sub.name, num=3, return_immediately=True)) == 3
    sub.delete()
    topic.delete()


def offsets(ground: Ground) -> None:
    ams = ground.ams
    topic = ams.topic(ground.name("t"))
    sub = topic.subscription(ground.name("s"))
    topic.publish([ground.library.AmsMessage(data=str(n)) for n in range(4)])
    assert sub.offsets() == {"max": 4, "min": 0, "current": 0}
    assert (sub.offsets("max"), sub.offsets("min"), sub.offsets("current")) == (4, 0, 0)
    assert sub.offsets(move_to=3) == {"max": 4, "min": 0, "current": 3}
    assert [message.get_data() for _, message in sub.pull(9, return_immediately=True)] == [b"3"]
    ams.modifyoffset_sub(sub.name, "1")
    assert ams.getoffsets_sub(sub.name, "current") == 1
    with pytest.raises(ground.library.AmsServiceException) as beyond:
        ams.modifyoffset_sub(sub.name, 99)
    assert beyond.value.code == 400
    assert ams.getoffsets_sub(sub.name, "current") == 1
    with pytest.raises(ground.library.AmsServiceException, match="not valid offset position"):
        ams.getoffsets_sub(sub.name, "middle")

    before = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(hours=1)
    assert sub.time_to_offset(before) == 0
    assert ams.time_to_offset_sub(sub.name, before.replace(microsecond=500_000)) == 0
    with pytest.raises(ground.library.AmsServiceException) as later:
        sub.time_to_offset(before + timedelta(hours=5))
    assert later.value.code == 409
    sub.delete()
    topic.delete()


def authorizations(ground: Ground) -> None:
    ams, names = ground.ams, [ground.name("u"), ground.name("u")]
    for name in names:
        ams.create_project_member(name, roles=["publisher", "consumer"])
    topic = ams.topic(ground.name("t"))
    sub = topic.subscription(ground.name("s"))
    for resource in (topic, sub):
        assert resource.acl() == {"authorized_users": []}
        assert resource.acl(names) is True
        assert resource.acls == names
        assert sorted(resource.acl()["authorized_users"]) == sorted(names)
        with pytest.raises((ground.library.AmsServiceException, *ground.bare)):
            resource.acl([ground.name("nobody")])
        assert resource.acl([]) is True
        assert resource.acl() == {"authorized_users": []}
    assert ams.modifyacl_topic(topic.name, names[:1]) is True
    assert ams.getacl_topic(topic.name) == {"authorized_users": names[:1]}
    assert ams.modifyacl_sub(sub.name, names[1:]) is True
    assert ams.getacl_sub(sub.name) == {"authorized_users": names[1:]}
    sub.delete()
    topic.delete()
    for name in names:
        ams.delete_user(name)


def users(ground: Ground) -> None:
    ams, name = ground.ams, ground.name("u")
    made = ams.create_user(ground.library.AmsUser(name=name, firstname="Ada", email="ada@example.org"))
    assert isinstance(made, ground.library.AmsUser)
    assert (made.name, made.firstname, made.email) == (name, "Ada", "ada@example.org")
    with pytest.raises(ground.library.AmsServiceException) as clash:
        ams.create_user(ground.library.AmsUser(name=name))
    assert clash.value.code == 409
    assert ams.get_user(name).uuid == made.uuid
    assert ams.get_user_by_uuid(made.uuid).name == name
    assert ams.get_user_by_token(made.token).name == name

    renamed = ground.name("u")
    changed = ams.update_user(name, last_name="Lovelace", username=renamed, service_roles=[], projects=[])
    assert (changed.name, changed.firstname, changed.lastname) == (renamed, "Ada", "Lovelace")
    fresh = ams.refresh_user_token(renamed)
    assert fresh.token != made.token
    assert ground.service(token=fresh.token).get_user_profile().name == renamed

    ams.create_user(ground.library.AmsUser(name=ground.name("u")))
    page = ams.list_users(page_size=1)
    assert len(page.users) == 1
    assert page.total_size >= 2
    seen = [page.users[0].name]
    while page.next_page_token:
        page = ams.list_users(page_size=1, next_page_token=page.next_page_token)
        seen += [user.name for user in page.users]
    assert len(set(seen)) == page.total_size
    assert renamed in [user.name for user in ams.list_users(details=False).users]

    assert ams.delete_user(renamed) is None
    with pytest.raises(ground.library.AmsServiceException) as gone:
        ams.get_user(renamed)
    assert gone.value.code == 404
    with pytest.raises(ValueError):
        ams.create_user("no user")


def projects_and_members(ground: Ground) -> None:
    ams, name = ground.ams, ground.name("p")
    assert ams.create_project(name, "of the tests")["name"] == name
    with pytest.raises(ground.library.AmsServiceException) as clash:
        ams.create_project(name, "again")
    assert clash.value.code == 409
    assert ams.get_project(name)["description"] == "of the tests"
    assert ams.update_project(name, description="changed")["description"] == "changed"

    member, guest = ground.name("u"), ground.name("u")
    created = ams.create_project_member(member, project=name, roles=["consumer"], email="m@example.org")
    assert created.token
    assert (created.email, created.projects[0].project, created.projects[0].roles) == (
        "m@example.org",
        name,
        ["consumer"],
    )
    ams.create_user(ground.library.AmsUser(name=guest))
    added = ams.add_project_member(guest, project=name, roles=["publisher"])
    assert [place.roles for place in added.projects if place.project == name] == [["publisher"]]
    with pytest.raises(ground.library.AmsServiceException) as twice:
        ams.add_project_member(guest, project=name, roles=["publisher"])
    assert twice.value.code == 409
    assert ams.get_project_member(member, project=name).name == member
    ams.remove_project_member(guest, name)
    with pytest.raises(ground.library.AmsServiceException) as gone:
        ams.get_project_member(guest, project=name)
    assert gone.value.code == 404

    ams.delete_project(name)
    with pytest.raises(ground.library.AmsServiceException) as deleted:
        ams.get_project(name)
    assert deleted.value.code == 404
    ams.delete_user(member)
    ams.delete_user(guest)


def reports(ground: Ground) -> None:
    ams = ground.ams
    assert ams.status()["status"] in ("ok", "warning")
    assert isinstance(ams.version(), dict)
    assert "ams_node.cpu_usage" in [one["metric"] for one in ams.metrics()["metrics"]]
    day = datetime(2026, 1, 2)
    report = ams.va_metrics(projects=[ground.project], start_date=day, end_date=day + timedelta(days=400))
    assert "projects_metrics" in report


def usage_reports(ground: Ground) -> None:
    ams, name = ground.ams, ground.name("u")
    admin = ams.create_project_member(name, roles=["project_admin"])
    report = ground.service(token=admin.token).usage_report(projects=[ground.project])
    assert {"va_metrics", "operational_metrics"} <= set(report)
    ams.delete_user(name)


def push(ground: Ground) -> None:
    ams = ground.ams
    topic = ams.topic(ground.name("t"))
    sub = ams.create_sub(ground.name("s"), topic.name, push_endpoint="https://push.example.org/a", retobj=True)
    assert (sub.push_endpoint, sub.retry_policy_type, sub.retry_policy_period) == (
        "https://push.example.org/a",
        "linear",
        300,
    )
    sub.pushconfig("https://push.example.org/b", retry_policy_period=1000)
    assert (sub.push_endpoint, sub.retry_policy_period) == ("https://push.example.org/b", 1000)
    assert ams.get_sub(sub.name)["pushConfig"]["pushEndpoint"] == "https://push.example.org/b"
    ams.pushconfig_sub(sub.name)
    assert ams.get_sub(sub.name)["pushConfig"]["pushEndpoint"] == ""
    sub.delete()
    topic.delete()


def refusals(ground: Ground) -> None:
    library = ground.library
    with pytest.raises(library.AmsServiceException) as stranger:
        ground.service(token="nobody-has-this-token").get_topic("t")
    assert (stranger.value.code, stranger.value.status) == (401, "UNAUTHORIZED")
    assert stranger.value.msg == "While trying the [topic_get]: Unauthorized"
    assert stranger.value.args[0] == {
        "error": stranger.value.msg,
        "status_code": 401,
        "status": "UNAUTHORIZED",
    }
    assert not isinstance(stranger.value, library.AmsBalancerException | library.AmsTimeoutException)

    ams = ground.ams
    topic = ams.topic(ground.name("t"))
    with pytest.raises(library.AmsServiceException) as large:
        topic.publish(library.AmsMessage(data="x" * 2_000_000))
    assert (large.value.code, large.value.status) == (413, "INVALID_ARGUMENT")
    sub = topic.subscription(ground.name("s"))
    topic.publish(library.AmsMessage(data="x"))
    for ids in ([], ["nonsense"], [f"projects/{ground.project}/subscriptions/other:0"]):
        with pytest.raises(library.AmsServiceException) as bad:
            sub.ack(ids)
        assert bad.value.code == 400
    with pytest.raises(library.AmsMessageException):
        topic.publish({"data": object()})
    with pytest.raises(library.AmsMessageException):
        topic.publish(library.AmsMessage())
    assert issubclass(library.AmsMessageException, library.AmsException)
    assert sub.offsets("max") == 1
    sub.delete()
    topic.delete()


SCENARIOS: list[Callable[[Ground], None]] = [
    topics,
    subscriptions,
    messages,
    templates,
    pull_options,
    offsets,
    authorizations,
    users,
    projects_and_members,
    reports,
    usage_reports,
    push,
    refusals,
]
