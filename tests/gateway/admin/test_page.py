"""The pages: local, strict, and without a way for a broker's strings to become markup."""

import re
from importlib.resources import files

import httpx
import pytest
from fastapi import FastAPI

from gateway.admin.page import MEDIA_TYPES, build, load

ASSETS = {entry.name: entry.read_text() for entry in files("gateway.admin").joinpath("assets").iterdir()}


@pytest.fixture
def node() -> httpx.AsyncClient:
    app = FastAPI(docs_url=None)
    app.include_router(build())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node")


@pytest.mark.parametrize("path", sorted(load()))
async def test_every_asset_is_served_with_its_type_and_a_strict_policy(node: httpx.AsyncClient, path: str) -> None:
    answer = await node.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"] in MEDIA_TYPES.values()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_browser_loads_an_asset_once(node: httpx.AsyncClient) -> None:
    etag = (await node.get("/")).headers["etag"]

    again = await node.get("/", headers={"if-none-match": etag})

    assert (again.status_code, again.content) == (304, b"")
    assert (await node.get("/", headers={"if-none-match": '"other"'})).status_code == 200


def test_pages_refer_to_assets_that_exist_and_to_nothing_elsewhere() -> None:
    served = load()
    for name in ("index.html", "docs.html"):
        for reference in re.findall(r'(?:src|href)="([^"]+)"', ASSETS[name]):
            assert reference in served or reference in {"/metrics", "/readyz", "/openapi.json"}
    assert not [name for name, text in ASSETS.items() if re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)]


def test_nothing_stands_inline() -> None:
    for name in ("index.html", "docs.html"):
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", ASSETS[name])


def test_broker_strings_never_become_markup_or_part_of_a_url() -> None:
    for name in ("page.js", "docs.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", ASSETS[name])
    assert "token=" not in ASSETS["page.js"]
    assert "localStorage" not in ASSETS["page.js"]
