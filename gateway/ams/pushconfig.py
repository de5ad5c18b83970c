"""Push configuration in ARGO's form: its rules, and the routes that change and verify it (contract ams.md 4.11).

A configuration with an endpoint and no type is one of `http_endpoint`, because ARGO's client sends no type; what a
change does not name stays, `base64Decode` too; slowstart shows the period 0, because the client reads one.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit, urlunsplit

from broker.errors import Forbidden, InvalidRequest
from broker.roles import Role
from broker.store.subscriptions import SubscriptionInfo, SubscriptionKind
from gateway.ams import errors, wire
from gateway.ams.requests import Request
from gateway.ams.settings import NO_PUSH, subscription_document, subscription_name
from gateway.ams.table import Row
from gateway.outgoing import NotAllowed, Outgoing, OutgoingError, OutgoingRules, read_url
from gateway.pushes import Authorization, PushConfig, PushType, RetryPolicy

DEFAULT_PERIOD_MS = 3000
MAX_PERIOD_MS = 24 * 3600 * 1000
MAX_MESSAGES = 1000
"""Of one delivery, whatever `maxMessages` says."""

SECRET_BYTES = 32
"""Of verification hashes and authorization values, in hexadecimal digits."""

VERIFICATION_PATH = "/ams_verification_hash"
VERIFICATION_SECONDS = 10.0
MAX_VERIFICATION_BYTES = 1024


class BadPush(InvalidRequest):
    """A configuration against the rules; the reason is the contract's text."""


NOT_HTTPS = "Push endpoint should be addressed by a valid https url"
BAD_RETRY = "Retry policy can only be of 'linear' or 'slowstart' type"
BAD_AUTHORIZATION = "Authorization header type can only be of 'autogen' or 'disabled' type"
BAD_TYPE = "Push configuration type can only be of 'http_endpoint' or 'mattermost'"
NO_MATTERMOST_URL = "Field mattermostUrl cannot be empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`pushConfig` as a caller sent it; empty texts, zeros and None are what it did not name."""

    type: str
    endpoint: str
    max_messages: int
    authorization: str
    retry: str
    period_ms: int
    mattermost_url: str
    mattermost_username: str
    mattermost_channel: str
    base64_decode: bool | None

    @property
    def is_none(self) -> bool:
        """Tell whether nothing is wanted, which turns pushing off."""
        named = (self.type, self.endpoint, self.max_messages, self.authorization, self.retry, self.period_ms)
        texts = (self.mattermost_url, self.mattermost_username, self.mattermost_channel)
        return not any((*named, *texts, self.base64_decode))


def read_wanted(document: Mapping[str, object]) -> Wanted:
    """Read `pushConfig`. Raises `InvalidRequest` on a wrong JSON type."""
    authorization, retry = _object(document, "authorizationheader"), _object(document, "retrypolicy")
    decode = wire.field_of(document, "base64decode")
    if decode is not None and not isinstance(decode, bool):
        raise InvalidRequest("base64Decode is neither true nor false.")
    return Wanted(
        type=wire.text_of(document, "type") or "",
        endpoint=wire.text_of(document, "pushendpoint") or "",
        max_messages=_integer(document, "maxmessages"),
        authorization=wire.text_of(authorization, "type") or "",
        retry=wire.text_of(retry, "type") or "",
        period_ms=_integer(retry, "period"),
        mattermost_url=wire.text_of(document, "mattermosturl") or "",
        mattermost_username=wire.text_of(document, "mattermostusername") or "",
        mattermost_channel=wire.text_of(document, "mattermostchannel") or "",
        base64_decode=decode,
    )


def check_wanted(wanted: Wanted, rules: OutgoingRules, *, retry_first: bool) -> None:
    """Raise `BadPush` for the first rule that is broken. A change looks at the retry policy first, a creation last."""
    if retry_first:
        _check_retry(wanted)
    kind = _type_of(wanted)
    if kind is PushType.MATTERMOST and not wanted.mattermost_url:
        raise BadPush(NO_MATTERMOST_URL)
    try:
        read_url(wanted.mattermost_url if kind is PushType.MATTERMOST else wanted.endpoint, rules)
    except NotAllowed:
        raise BadPush(NOT_HTTPS) from None
    if wanted.authorization not in ("", *Authorization):
        raise BadPush(BAD_AUTHORIZATION)
    if not retry_first:
        _check_retry(wanted)


def _check_retry(wanted: Wanted) -> None:
    if wanted.retry not in ("", *RetryPolicy):
        raise BadPush(BAD_RETRY)


def _type_of(wanted: Wanted) -> PushType:
    if not wanted.type and wanted.endpoint:
        return PushType.HTTP_ENDPOINT
    try:
        return PushType(wanted.type)
    except ValueError:
        raise BadPush(BAD_TYPE) from None


def configured(before: PushConfig | None, wanted: Wanted, info: SubscriptionInfo) -> PushConfig:
    """Return the configuration that `wanted`, which was checked, makes of the one before."""
    retry = RetryPolicy(wanted.retry or RetryPolicy.LINEAR)
    period = wanted.period_ms if wanted.period_ms > 0 else DEFAULT_PERIOD_MS
    decode = wanted.base64_decode
    plain = PushConfig(
        type=_type_of(wanted),
        max_messages=min(max(wanted.max_messages, 1), MAX_MESSAGES),
        retry=retry,
        period_ms=0 if retry is RetryPolicy.SLOWSTART else min(period, MAX_PERIOD_MS),
        base64_decode=decode if decode is not None else before is not None and before.base64_decode,
        shared=info.settings.kind is SubscriptionKind.SHARED,
        created_ms=info.created_ms,
    )
    if plain.type is PushType.MATTERMOST:
        return replace(
            plain,
            mattermost_url=wanted.mattermost_url,
            mattermost_username=wanted.mattermost_username,
            mattermost_channel=wanted.mattermost_channel,
            verified=True,
        )
    return _with_endpoint(plain, before, wanted)


def _with_endpoint(plain: PushConfig, before: PushConfig | None, wanted: Wanted) -> PushConfig:
    authorized = _authorized(plain, before, wanted)
    if before is not None and before.endpoint == wanted.endpoint:
        known = before.verification_hash
        return replace(authorized, endpoint=wanted.endpoint, verification_hash=known, verified=before.verified)
    return replace(authorized, endpoint=wanted.endpoint, verification_hash=_secret())


def _authorized(plain: PushConfig, before: PushConfig | None, wanted: Wanted) -> PushConfig:
    if not wanted.authorization and before is not None:
        return replace(plain, authorization=before.authorization, authorization_value=before.authorization_value)
    if wanted.authorization == Authorization.DISABLED:
        return plain
    return replace(plain, authorization=Authorization.AUTOGEN, authorization_value=_secret())


def push_document(config: PushConfig | None) -> Mapping[str, object]:
    """Return `pushConfig`, always a full object."""
    if config is None:
        return NO_PUSH
    authorization = {"type": config.authorization, "value": config.authorization_value}
    return {
        "type": config.type,
        "pushEndpoint": config.endpoint,
        "maxMessages": config.max_messages,
        "authorizationHeader": {key: value for key, value in authorization.items() if value},
        "retryPolicy": {"type": config.retry, "period": config.period_ms},
        "verificationHash": config.verification_hash,
        "verified": config.verified,
        "mattermostUrl": config.mattermost_url,
        "mattermostUsername": config.mattermost_username,
        "mattermostChannel": config.mattermost_channel,
        "base64Decode": config.base64_decode,
    }


async def modify(request: Request) -> bytes:
    """The body is `{"pushConfig"}`; an empty one turns pushing off."""
    try:
        given = wire.field_of(wire.read_object(request.body), "pushconfig")
        if given is not None and not isinstance(given, dict):
            raise InvalidRequest("pushConfig is not an object.")
        wanted = read_wanted(given or {})
    except InvalidRequest:
        raise errors.invalid_arguments("Subscription") from None
    info = await request.context.subscriptions.get(request.subscription)
    if wanted.is_none:
        await request.context.pushes.delete(info.name, created_ms=info.created_ms)
        return b""
    require_enabled(request)
    check_wanted(wanted, request.context.outgoing.rules, retry_first=True)
    await store(request, info, wanted)
    return b""


async def store(request: Request, info: SubscriptionInfo, wanted: Wanted) -> PushConfig:
    """Keep what was wanted, and checked, of a subscription that exists."""
    made = await request.context.pushes.change(
        info.name, lambda before: configured(before, wanted, info), created_ms=info.created_ms
    )
    assert made is not None
    return made


async def verify(request: Request) -> bytes:
    """Ask the endpoint's host for the hash, and begin to deliver."""
    require_enabled(request)
    pushes = request.context.pushes
    info = await request.context.subscriptions.get(request.subscription)
    config = await pushes.get(info.name, created_ms=info.created_ms)
    if config is None or config.type is not PushType.HTTP_ENDPOINT:
        raise errors.conflict("Subscription is not in http push mode")
    if config.verified:
        raise errors.conflict("Push endpoint is already verified")
    failure = await ask_for_hash(request.context.outgoing, config)
    if failure is not None:
        raise errors.ArgoRefusal(401, "UNAUTHORIZED", f"Endpoint verification failed.{failure}")

    def verified(now: PushConfig | None) -> PushConfig | None:
        # What another made of it meanwhile was not verified.
        unchanged = now is not None and now.verification_hash == config.verification_hash
        return replace(now, verified=True) if now is not None and unchanged else now

    await pushes.change(info.name, verified, created_ms=info.created_ms)
    return b""


async def ask_for_hash(outgoing: Outgoing, config: PushConfig) -> str | None:
    """Return why the endpoint is not verified, None where it is."""
    parts = urlsplit(config.endpoint)
    url = urlunsplit((parts.scheme, parts.netloc, VERIFICATION_PATH, "", ""))
    try:
        reply = await outgoing.send(
            "GET", url, headers={}, seconds=VERIFICATION_SECONDS, max_bytes=MAX_VERIFICATION_BYTES
        )
    except OutgoingError as error:
        return error.reason
    if reply.status != 200:
        return "Wrong response status code"
    if not hmac.compare_digest(reply.body, config.verification_hash.encode()):
        return "Wrong verification hash"
    return None


async def shown(request: Request, info: SubscriptionInfo) -> dict[str, object]:
    """Return the subscription with its configuration and, once that is verified, how deliveries go."""
    config = await request.context.pushes.get(info.name, created_ms=info.created_ms)
    document = subscription_document(info, push_document(config))
    if config is not None and config.verified:
        name = subscription_name(info.name)
        status = await request.context.pushes.status(info.name)
        document["pushStatus"] = status or f"Subscription {name} is currently active"
    return document


def require_enabled(request: Request) -> None:
    if not request.context.config.push.enabled:
        raise errors.conflict("Push functionality is currently disabled")


def require_pull(request: Request) -> None:
    """Refuse a pull from a cursor that is pushed, but for push workers and operators (contract ams.md 2).

    A shared subscription has room for all: its messages are in one hand at a time anyway.
    """
    config = request.context.pushes.known.get(request.subscription)
    if config is None or config.shared or request.caller.operator:
        return
    account = request.caller.account
    roles = account.roles_in(request.project) if account is not None else frozenset()
    if Role.PUSH_WORKER in roles and Role.SERVICE_ADMIN not in roles:
        require_enabled(request)
    elif Role.SERVICE_ADMIN not in roles:
        raise Forbidden(f"{subscription_name(request.subscription)} is pushed to its endpoint.")


def _secret() -> str:
    return secrets.token_hex(SECRET_BYTES)


def _object(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = wire.field_of(document, name)
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest(f"{name} is not an object.")
    return value or {}


def _integer(document: Mapping[str, object], name: str) -> int:
    value = wire.field_of(document, name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InvalidRequest(f"{name} is not a number.")
    return value or 0


_ONE = "/projects/{project}/subscriptions/{subscription}"

ROUTES = (
    Row("POST", f"{_ONE}:modifyPushConfig", "subscriptions:modifyPushConfig", modify),
    Row("POST", f"{_ONE}:verifyPushEndpoint", "subscriptions:verifyPushEndpoint", verify),
)
