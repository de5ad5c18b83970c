"""The JavaScript SDK 3, as it comes from npm, against the management API."""

import json
from pathlib import Path
from typing import Any

import npm
import pytest
from management import ID, JS_PACKAGE, JS_SCRIPT, KEY, SECRET, Listed, apart, managed, section

UNKNOWN = "L0SM9cOFvHcCIhx="


@pytest.fixture(scope="module")
def sdk(request: pytest.FixtureRequest) -> Path:
    return npm.installed(request.config.cache.mkdir("npm"), JS_PACKAGE)


def call(sdk: Path, url: str) -> dict[str, dict[str, Any]]:
    return dict(json.loads(npm.run(sdk, JS_SCRIPT, (url, ID, UNKNOWN), {"KEY": KEY, "SECRET": SECRET})))


async def test_the_javascript_sdk_posts_shows_and_closes(sdk: Path) -> None:
    connections = Listed()
    async with managed(section(), connections) as served:
        seen = await apart(call, sdk=sdk, url=f"{served.url}/prod")
    assert [seen[name]["status"] for name in ("text", "bytes", "empty", "most")] == [200] * 4
    assert len(seen["text"]["request"]) == 36
    assert [data for _, data in connections.posted] == ["héllo".encode(), b"\xff\x00", b"", b"x" * 131_072]
    assert seen["shown"]["status"] == 200
    assert seen["shown"]["ConnectedAt"] == "2023-11-14T22:13:20.123Z"
    assert seen["shown"]["LastActiveAt"] == "2023-11-14T22:14:20.000Z"
    assert seen["shown"]["Identity"] == {"SourceIp": "192.0.2.7", "UserAgent": "tests/1"}
    assert seen["deleted"]["status"] == 204 and not connections.present
    assert None not in connections.invocations
    # In the SDK's own classes.
    for name in ("gone", "goneThen"):
        assert (seen[name]["known"], seen[name]["status"]) == ("GoneException", 410)
        assert seen[name]["message"] == "The connection is gone."
    assert (seen["tooMuch"]["known"], seen["tooMuch"]["status"]) == ("PayloadTooLargeException", 413)
    assert (seen["malformed"]["name"], seen["malformed"]["status"]) == ("BadRequestException", 400)
    assert (seen["forged"]["name"], seen["forged"]["status"]) == ("InvalidSignatureException", 403)
