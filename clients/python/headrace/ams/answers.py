"""What an HTTP answer means: a document, or which exception. Pure.

Any answer but a 200 with a JSON object, or with nothing, is an exception (contract of the API: success is always 200).
"""

import json

from headrace.ams.errors import (
    MAX_QUOTED,
    AmsBalancerException,
    AmsServiceException,
    AmsTimeoutException,
    refusal,
)
from headrace.ams.message import Document
from headrace.ams.routes import BALANCED

ELSEWHERE = frozenset({502, 503, 504})
"""Another server may well do what one answered this to."""


def read_answer(status: int, body: bytes, request: str) -> Document:
    """Return the document of a success, `{}` for an empty one, or raise the exception that `status` stands for."""
    if status == 200:
        return _document(body, request)
    raise _kind(status, request)(_envelope(status, body), request)


def _document(body: bytes, request: str) -> Document:
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise refusal(200, "INVALID_ANSWER", f"the answer is no JSON object: {_quoted(body)}", request)
    return document


def _kind(status: int, request: str) -> type[AmsServiceException]:
    if status == 408 or (status == 504 and request in BALANCED):
        return AmsTimeoutException
    if status in (500, 502, 503) and request in BALANCED:
        return AmsBalancerException
    return AmsServiceException


def _envelope(status: int, body: bytes) -> Document:
    """Return ARGO's envelope, made here where a proxy or an empty body answered."""
    try:
        document = json.loads(body)
        if isinstance(document["error"], dict):
            return {"error": {"code": status, **document["error"]}}
    except (ValueError, KeyError, TypeError):
        pass
    return {"error": {"code": status, "message": _quoted(body) or f"HTTP status {status} without a word"}}


def _quoted(body: bytes) -> str:
    return body[:MAX_QUOTED].decode("utf-8", "replace").strip()


def field(document: Document, key: str, request: str) -> object:
    """Return what every answer of its kind has. Raises `AmsServiceException` where it is missing."""
    if key not in document:
        raise refusal(200, "INVALID_ANSWER", f"the answer has no {key!r}", request)
    return document[key]
