"""The exceptions, with the names and attributes of `argo-ams-library`.

Two branches: `AmsServiceException` for what a server answered, and everything that never became an answer. Of the
former, `AmsBalancerException` and `AmsTimeoutException` are worth a retry, as `AmsConnectionException` is.
"""

from collections.abc import Mapping

MAX_QUOTED = 200
"""Characters of a foreign answer that an error's text repeats."""


class AmsException(Exception):
    """Any failure of this library."""


class AmsServiceException(AmsException):
    """A server refused. `msg` names the call and the reason; `code` and `status` are always there, None if not known.

    `json` is ARGO's error envelope. An answer without one is no `KeyError` but is quoted in `msg`. `refused` has the
    ack ids of a shared subscription whose lease is over, with a word that says why; all others were settled.
    """

    code: int | None
    status: str | None
    refused: Mapping[str, str]

    def __init__(self, json: Mapping[str, object], request: str) -> None:
        error = json.get("error")
        details: Mapping[str, object] = error if isinstance(error, Mapping) else {}
        reason = details.get("message") or f"the answer says nothing of the reason: {str(dict(json))[:MAX_QUOTED]}"
        code, status = details.get("code"), details.get("status")
        self.msg = f"While trying the [{request}]: {reason}"
        self.code = code if isinstance(code, int) else None
        self.status = status if isinstance(status, str) else None
        self.refused = _refused(details.get("errors"))
        known = {"error": self.msg, "status_code": self.code, "status": self.status}
        super().__init__({name: value for name, value in known.items() if value is not None})


class AmsBalancerException(AmsServiceException):
    """A publish, pull or ack met a server or a balancer that cannot answer at the moment (500, 502, 503)."""


class AmsTimeoutException(AmsServiceException):
    """An ack came after its deadline (408), or an answer did not come in time (408, 504)."""


class AmsConnectionException(AmsException):
    """No answer came: refused, broken, too slow, not trusted, or not HTTP. `exp` is the cause."""

    def __init__(self, exp: BaseException, request: str) -> None:
        self.msg = f"While trying the [{request}]: {exp!r}"
        super().__init__(self.msg)


class AmsMessageException(AmsException):
    """A message that cannot be sent or read as it is."""

    def __init__(self, msg: object) -> None:
        self.msg = msg
        super().__init__(self.msg)


def refusal(code: int, status: str, message: str, request: str) -> AmsServiceException:
    """Return the error for what this library itself refuses, in the server's form."""
    return AmsServiceException({"error": {"code": code, "message": message, "status": status}}, request)


def _refused(listed: object) -> dict[str, str]:
    entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    return {str(entry["domain"]): str(entry.get("reason", "")) for entry in entries if "domain" in entry}
