"""The lean routes as the reference names them: one row an operation. `openapi` makes the document of it.

The rows are held to what is served by a test; rooms do not import each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TOPIC = {"name": "/projects/default/topics/demo", "created_on": "2026-01-01T00:00:00Z"}
PROJECT = {"name": "default", "created_on": "2026-01-01T00:00:00Z", "modified_on": "2026-01-01T00:00:00Z"}
DESCRIPTION = {"description": "what it is for"}
MESSAGE = {"messageId": "41", "data": "aGVsbG8=", "publishTime": "2026-01-01T00:00:00.5Z"}
SUBSCRIPTION = {
    "name": "/projects/default/subscriptions/work",
    "topic": "/projects/default/topics/demo",
    "pushConfig": {"pushEndpoint": ""},
    "ackDeadlineSeconds": 10,
    "createdOn": "2026-01-01T00:00:00Z",
    "kind": "cursor",
}
NEW_SUBSCRIPTION = {
    "topic": "projects/default/topics/demo",
    "ackDeadlineSeconds": 30,
    "kind": "shared",
    "maxAttempts": 5,
    "deadLetterTopic": "projects/default/topics/failed",
    "retryPolicy": {"type": "exponential", "minimumMs": 100, "maximumMs": 60000},
    "orderingAttribute": "customer",
}
ACK_IDS = {"ackIds": ["projects/default/subscriptions/work:41"]}
USERS = {"authorized_users": ["ann"]}
USER = {"uuid": "…", "name": "ann", "projects": [], "service_roles": [], "token": "…"}
NEW_USER = {"projects": [{"project": "default", "roles": ["consumer"]}], "email": "ann@example.org"}
REGISTRATION = {"uuid": "…", "name": "ann", "status": "pending"}
SCHEMA = {"uuid": "…", "name": "projects/default/schemas/order", "type": "json", "schema": {"type": "object"}}
NEW_SCHEMA = {"type": "json", "schema": {"type": "object"}}
PUSH = {"pushConfig": {"type": "http_endpoint", "pushEndpoint": "https://example.org/in"}}
METRICS = {"metrics": [{"metric": "topic.number_of_messages", "timeseries": [{"timestamp": "…", "value": 42}]}]}
LIMITS = {
    "topics": 100,
    "subscriptions": 100,
    "publishPerSecond": 1000,
    "retainedBytes": None,
    "noSubscriber": "accept",
}
EMPTY: dict[str, object] = {}

PAGE = ("pageSize", "pageToken")
WINDOW = ("start_date", "end_date", "projects")


@dataclass(frozen=True, slots=True)
class Operation:
    """`query` and `headers` are names of described parameters, `refusals` statuses besides 401, 403 and 404."""

    tag: str
    call: str
    summary: str
    body: object = None
    answer: object = None
    query: Sequence[str] = ()
    refusals: Sequence[int] = ()


_P, _T = "/v1/projects/{project}", "/v1/projects/{project}/topics/{topic}"
_S, _X = "/v1/projects/{project}/subscriptions/{subscription}", "/v1/projects/{project}/schemas/{schema}"
_M = "/v1/projects/{project}/members/{user}"

OPERATIONS = (
    Operation(
        "Messages",
        f"POST {_T}:publish",
        "Publish messages, all or none.",
        {"messages": [{"data": "aGVsbG8=", "attributes": {"colour": "blue"}}]},
        {"messageIds": ["41"]},
        ("Idempotency-Key",),
        (400, 409, 413, 429, 503, 504),
    ),
    Operation(
        "Topics",
        f"GET {_P}/topics",
        "List a project's topics, newest first.",
        None,
        {"topics": [TOPIC], "nextPageToken": "", "totalSize": 1},
        PAGE,
        (400,),
    ),
    Operation(
        "Topics",
        f"PUT {_T}",
        "Create a topic, perhaps bound to a schema.",
        {"schema": "projects/default/schemas/order"},
        TOPIC,
        (),
        (400, 409),
    ),
    Operation("Topics", f"GET {_T}", "Show a topic.", None, TOPIC),
    Operation("Topics", f"DELETE {_T}", "Delete a topic with its messages; its subscriptions stay."),
    Operation(
        "Topics",
        f"GET {_T}/subscriptions",
        "List the names of a topic's subscriptions.",
        None,
        {"subscriptions": [SUBSCRIPTION["name"]]},
    ),
    Operation(
        "Topics",
        f"POST {_T}:attachSchema",
        "Hold what is published against a schema.",
        {"schema": "projects/default/schemas/order"},
        None,
        (),
        (400,),
    ),
    Operation("Topics", f"POST {_T}:detachSchema", "Take anything again."),
    Operation("Topics", f"GET {_T}:acl", "Show who may publish and follow.", None, USERS),
    Operation(
        "Topics", f"POST {_T}:modifyAcl", "Replace the list of who may publish and follow.", USERS, None, (), (400,)
    ),
    Operation("Topics", f"GET {_T}:metrics", "Count what was published, by day too.", None, METRICS),
    Operation(
        "Subscriptions",
        f"GET {_P}/subscriptions",
        "List a project's subscriptions, newest first.",
        None,
        {"subscriptions": [SUBSCRIPTION], "nextPageToken": "", "totalSize": 1},
        PAGE,
        (400,),
    ),
    Operation(
        "Subscriptions",
        f"PUT {_S}",
        "Create a subscription: a cursor, or shared by many consumers.",
        NEW_SUBSCRIPTION,
        SUBSCRIPTION,
        (),
        (400, 409),
    ),
    Operation("Subscriptions", f"GET {_S}", "Show a subscription.", None, SUBSCRIPTION),
    Operation("Subscriptions", f"DELETE {_S}", "Delete a subscription."),
    Operation(
        "Subscriptions",
        f"POST {_S}:pull",
        "Pull messages; with returnImmediately false wait for one.",
        {"maxMessages": "10", "returnImmediately": "false"},
        {"receivedMessages": [{"ackId": ACK_IDS["ackIds"][0], "message": MESSAGE}]},
        (),
        (400, 409, 503),
    ),
    Operation(
        "Subscriptions",
        f"POST {_S}:acknowledge",
        "Acknowledge what was pulled.",
        ACK_IDS,
        EMPTY,
        (),
        (400, 408, 409, 503),
    ),
    Operation(
        "Subscriptions",
        f"POST {_S}:modifyAckDeadline",
        "Change the ack deadline; with ackIds extend these leases, with 0 give them back.",
        {"ackDeadlineSeconds": 60},
        None,
        (),
        (400, 408, 409),
    ),
    Operation(
        "Subscriptions",
        f"GET {_S}:offsets",
        "Show the oldest, the next and the newest offset.",
        None,
        {"max": 42, "min": 0, "current": 41},
    ),
    Operation("Subscriptions", f"POST {_S}:modifyOffset", "Go on from an offset.", {"offset": 7}, None, (), (400,)),
    Operation(
        "Subscriptions",
        f"GET {_S}:timeToOffset",
        "Find the first message from a time on.",
        None,
        {"offset": 7},
        ("time",),
        (400, 409),
    ),
    Operation("Subscriptions", f"GET {_S}:acl", "Show who may pull.", None, USERS),
    Operation("Subscriptions", f"POST {_S}:modifyAcl", "Replace the list of who may pull.", USERS, None, (), (400,)),
    Operation("Subscriptions", f"GET {_S}:metrics", "Count what was delivered.", None, METRICS),
    Operation(
        "Subscriptions",
        f"POST {_S}:modifyPushConfig",
        "Have messages pushed, or pull them again.",
        PUSH,
        None,
        (),
        (400, 409),
    ),
    Operation(
        "Subscriptions",
        f"POST {_S}:verifyPushEndpoint",
        "Ask the push endpoint for its verification hash.",
        None,
        None,
        (),
        (409,),
    ),
    Operation("Schemas", f"GET {_P}/schemas", "List a project's schemas.", None, {"schemas": [SCHEMA]}),
    Operation("Schemas", f"POST {_X}", "Create a JSON or Avro schema.", NEW_SCHEMA, SCHEMA, (), (400, 409)),
    Operation("Schemas", f"GET {_X}", "Show a schema.", None, SCHEMA),
    Operation("Schemas", f"PUT {_X}", "Change a schema.", NEW_SCHEMA, SCHEMA, (), (400, 409)),
    Operation("Schemas", f"DELETE {_X}", "Delete a schema; its topics take anything again."),
    Operation(
        "Schemas",
        f"POST {_X}:validate",
        "Hold a message against a schema.",
        {"any": "document"},
        {"message": "Message validated successfully"},
        (),
        (400,),
    ),
    Operation("Projects", "GET /v1/projects", "List the projects.", None, {"projects": [PROJECT]}),
    Operation("Projects", f"POST {_P}", "Create a project.", DESCRIPTION, PROJECT, (), (400, 409)),
    Operation("Projects", f"PUT {_P}", "Describe a project.", DESCRIPTION, PROJECT, (), (400,)),
    Operation("Projects", f"GET {_P}", "Show a project.", None, PROJECT),
    Operation("Projects", f"DELETE {_P}", "Delete a project with its topics and subscriptions."),
    Operation("Projects", f"GET {_P}:limits", "Show what a project may have and do.", None, LIMITS),
    Operation("Projects", f"POST {_P}:modifyLimits", "Change that, one by one.", LIMITS, LIMITS, (), (400,)),
    Operation("Projects", f"GET {_P}:metrics", "Count a project's resources and messages.", None, METRICS),
    Operation(
        "Members",
        f"GET {_P}/members",
        "List a project's members.",
        None,
        {"users": [USER], "nextPageToken": "", "totalSize": 1},
        PAGE,
        (400,),
    ),
    Operation("Members", f"GET {_M}", "Show a member.", None, USER),
    Operation("Members", f"POST {_M}", "Create a user as a member.", NEW_USER, USER, (), (400, 409)),
    Operation("Members", f"PUT {_M}", "Change a member's roles.", NEW_USER, USER, (), (400,)),
    Operation("Members", f"POST {_M}:add", "Make a user a member.", {"roles": ["consumer"]}, USER, (), (400, 409)),
    Operation("Members", f"POST {_M}:remove", "Take a member out of the project.", None, EMPTY),
    Operation(
        "Users",
        "GET /v1/users",
        "List the users.",
        None,
        {"users": [USER], "nextPageToken": "", "totalSize": 1},
        (*PAGE, "project", "details"),
        (400,),
    ),
    Operation("Users", "GET /v1/users/{user}", "Show a user.", None, USER),
    Operation("Users", "POST /v1/users/{user}", "Create a user.", NEW_USER, USER, (), (400, 409)),
    Operation("Users", "PUT /v1/users/{user}", "Change a user.", NEW_USER, USER, (), (400,)),
    Operation("Users", "DELETE /v1/users/{user}", "Delete a user."),
    Operation("Users", "POST /v1/users/{user}:refreshToken", "Give a user a new token.", None, USER),
    Operation("Users", "GET /v1/users:byToken/{token}", "Show whose token it is.", None, USER),
    Operation("Users", "GET /v1/users:byUUID/{uuid}", "Show a user by its uuid.", None, USER),
    Operation("Users", "GET /v1/users/profile", "Show the caller.", None, USER),
    Operation("Users", "GET /v1/users/usageReport", "Report on the caller's projects.", None, EMPTY, WINDOW, (400,)),
    Operation(
        "Registrations", "GET /v1/registrations", "List registrations.", None, {"user_registrations": [REGISTRATION]}
    ),
    Operation(
        "Registrations",
        "POST /v1/registrations",
        "Register for an account.",
        {"name": "ann", "email": "ann@example.org"},
        REGISTRATION,
        (),
        (400, 409),
    ),
    Operation("Registrations", "GET /v1/registrations/{uuid}", "Show a registration.", None, REGISTRATION),
    Operation("Registrations", "DELETE /v1/registrations/{uuid}", "Delete a registration."),
    Operation("Registrations", "POST /v1/registrations/{uuid}:accept", "Make the user.", None, USER, (), (409,)),
    Operation(
        "Registrations", "POST /v1/registrations/{uuid}:decline", "Decline it.", {"comment": "why"}, EMPTY, (), (400,)
    ),
    Operation("Service", "GET /v1/status", "Tell whether pushes are sent.", None, {"status": "ok"}, ("details",)),
    Operation("Service", "GET /v1/version", "Tell what runs.", None, {"os": "linux"}),
    Operation("Service", "GET /v1/metrics", "Measure the node that answers.", None, METRICS),
    Operation("Service", "GET /v1/metrics/va_metrics", "Report on projects.", None, EMPTY, WINDOW, (400,)),
)
