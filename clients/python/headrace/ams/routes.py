"""Every call of the API that this library makes: method, path, and whether it may be sent twice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """`path` has a `{}` for each name.

    `repeatable`: a second copy changes nothing that the first did not, so the call may go out again, on another
    connection or to another server, when no answer came. A publish is repeatable because of its idempotency key.
    """

    method: str
    path: str
    repeatable: bool = True


def _once(method: str, path: str) -> Route:
    return Route(method, path, repeatable=False)


_TOPICS = "/v1/projects/{}/topics"
_TOPIC = _TOPICS + "/{}"
_SUBS = "/v1/projects/{}/subscriptions"
_SUB = _SUBS + "/{}"
_USERS = "/v1/users"
_USER = _USERS + "/{}"
_PROJECT = "/v1/projects/{}"
_MEMBER = _PROJECT + "/members/{}"

ROUTES: dict[str, Route] = {
    "topic_list": Route("get", _TOPICS),
    "topic_get": Route("get", _TOPIC),
    "topic_publish": Route("post", _TOPIC + ":publish"),
    "topic_create": _once("put", _TOPIC),
    "topic_delete": _once("delete", _TOPIC),
    "topic_getacl": Route("get", _TOPIC + ":acl"),
    "topic_modifyacl": Route("post", _TOPIC + ":modifyAcl"),
    "sub_create": _once("put", _SUB),
    "sub_delete": _once("delete", _SUB),
    "sub_list": Route("get", _SUBS),
    "sub_get": Route("get", _SUB),
    "sub_pull": Route("post", _SUB + ":pull"),
    "sub_ack": Route("post", _SUB + ":acknowledge"),
    "sub_ackdeadline": Route("post", _SUB + ":modifyAckDeadline"),
    "sub_pushconfig": Route("post", _SUB + ":modifyPushConfig"),
    "sub_getacl": Route("get", _SUB + ":acl"),
    "sub_modifyacl": Route("post", _SUB + ":modifyAcl"),
    "sub_offsets": Route("get", _SUB + ":offsets"),
    "sub_mod_offset": Route("post", _SUB + ":modifyOffset"),
    "sub_timeToOffset": Route("get", _SUB + ":timeToOffset?time={}"),
    "api_status": Route("get", "/v1/status"),
    "api_metrics": Route("get", "/v1/metrics"),
    "api_va_metrics": Route("get", "/v1/metrics/va_metrics"),
    "api_version": Route("get", "/v1/version"),
    "api_usage_report": Route("get", _USERS + "/usageReport"),
    "user_create": _once("post", _USER),
    "user_update": _once("put", _USER),
    "user_get": Route("get", _USER),
    "user_get_by_token": Route("get", _USERS + ":byToken/{}"),
    "user_get_by_uuid": Route("get", _USERS + ":byUUID/{}"),
    "user_get_profile": Route("get", _USERS + "/profile"),
    "users_list": Route("get", _USERS),
    "user_delete": _once("delete", _USER),
    "user_refresh_token": _once("post", _USER + ":refreshToken"),
    "project_add_member": _once("post", _MEMBER + ":add"),
    "project_get_member": Route("get", _MEMBER),
    "project_create_member": _once("post", _MEMBER),
    "project_remove_member": _once("post", _MEMBER + ":remove"),
    "project_create": _once("post", _PROJECT),
    "project_update": _once("put", _PROJECT),
    "project_get": Route("get", _PROJECT),
    "project_delete": _once("delete", _PROJECT),
    "auth_x509": Route("get", "/v1/service-types/ams/hosts/{}:authx509"),
}

BALANCED = frozenset({"topic_publish", "sub_pull", "sub_ack"})
"""Calls whose 500, 502, 503 and 504 are not the caller's doing and are retried where the caller asked for retries."""


def templates(base: str) -> dict[str, list[str]]:
    """Return `{name: [method, URL]}` for the `routes` attribute: `{0}` is the endpoint, names are `{1}` and on.

    `base` is the scheme. The X.509 call has its port as `{1}` and names its host twice, as in ARGO's client.
    """
    found = {}
    for name, route in ROUTES.items():
        path = route.path
        for number in range(1, path.count("{}") + 1):
            path = path.replace("{}", f"{{{number}}}", 1)
        found[name] = [route.method, f"{base}://{{0}}{path}"]
    found["auth_x509"] = ["get", "https://{0}:{1}" + ROUTES["auth_x509"].path.replace("{}", "{0}")]
    return found
