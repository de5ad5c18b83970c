"""The rows of API Gateway's connections, as `gateway.admin.operations` has the others'."""

from gateway.admin.operations import EMPTY, Operation

CONNECTION = {
    "connection": "L0SM9cOFvHcCIhw=",
    "api": "chat",
    "stage": "prod",
    "connected_at_ms": 1767225600000,
    "last_active_at_ms": 1767225660000,
    "source_ip": "192.0.2.1",
    "user": "alice",
    "tags": {"room": "7"},
}
STANDING = {
    "connectedAt": "2026-01-01T00:00:00.000Z",
    "identity": {"sourceIp": "192.0.2.1", "userAgent": "Mozilla/5.0"},
    "lastActiveAt": "2026-01-01T00:01:00.000Z",
}
TO = {"to": {"user": "alice", "tags": {"room": "7"}}}
NAMED = {"connections": ["L0SM9cOFvHcCIhw="]}
GROUP = {"group": "default/room"}
CRITERIA = ("api", "stage", "user", "group", "tag.NAME")

_C, _G, _A = "/headrace/v1/connections", "/headrace/v1/groups", "/{stage}/@connections/{connection}"


def _outcome(done: str) -> dict[str, object]:
    return {done: 1, "not_reached": 1, "failed": {"JC1dgf9yoAMCK-g=": "gone"}}


CONNECTION_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "Connections",
        f"POST {_C}:post",
        "Post one message to many connections: named, or all that fit.",
        {**TO, "text": "hello"},
        _outcome("posted"),
        ("Idempotency-Key",),
        (400, 413, 503),
    ),
    Operation(
        "Connections",
        f"POST {_C}:close",
        "Close connections with code and reason.",
        {**NAMED, "code": 4001, "reason": "moved"},
        _outcome("closed"),
        (),
        (400, 503),
    ),
    Operation(
        "Connections",
        f"GET {_C}",
        "List connections.",
        None,
        {"connections": [CONNECTION], "next": CONNECTION["connection"]},
        (*CRITERIA, "limit", "after"),
        (400, 503),
    ),
    Operation("Connections", f"GET {_C}:count", "Count connections.", None, {"count": 1}, CRITERIA, (400, 503)),
    Operation("Connections", f"GET {_C}/{{connection}}", "Show a connection.", None, CONNECTION, (), (400, 410, 503)),
    Operation(
        "Connections",
        f"DELETE {_C}/{{connection}}",
        "Close a connection.",
        None,
        EMPTY,
        ("code", "reason"),
        (400, 410, 503),
    ),
    Operation(
        "Groups",
        f"POST {_G}:join",
        "Let connections follow a topic.",
        GROUP | NAMED,
        _outcome("joined"),
        (),
        (400, 503),
    ),
    Operation(
        "Groups",
        f"POST {_G}:leave",
        "Let connections follow a topic no more.",
        GROUP | TO,
        _outcome("left"),
        (),
        (400, 503),
    ),
    Operation(
        "Groups",
        f"POST {_G}:publish",
        "Publish to a group, which is a topic.",
        {**GROUP, "json": {"a": 1}},
        {"epoch": 1, "offset": 41},
        ("Idempotency-Key",),
        (400, 409, 413, 503, 504),
    ),
    Operation(
        "API Gateway", f"POST {_A}", "PostToConnection; signed with SigV4.", None, None, (), (400, 410, 413, 429, 503)
    ),
    Operation(
        "API Gateway", f"GET {_A}", "GetConnection; signed with SigV4.", None, STANDING, (), (400, 410, 429, 503)
    ),
    Operation(
        "API Gateway", f"DELETE {_A}", "DeleteConnection; signed with SigV4.", None, None, (), (400, 410, 429, 503)
    ),
)
