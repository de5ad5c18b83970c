"""The `[apigateway]` section: APIs and credentials beside each other, and what an operator sees of them."""

import json
from pathlib import Path

import pytest

from gateway.apigateway.configuration.settings import read_apis, read_credentials
from gateway.config import Config, ConfigError, explain, load
from gateway.options import Mistakes

FILE = """
port = 8080

[apigateway]
region = "eu-west-1"

[[apigateway.apis]]
name = "chat"
stages = ["prod", "dev"]
integrations.backend.uri = "http://127.0.0.1:9000/"
routes."$default" = "backend"

[[apigateway.apis]]
name = "news"
stage = "live"
integrations.ping.type = "mock"
routes."$default" = "ping"

[[apigateway.credentials]]
access_key = "AKIAEXAMPLE"
secret = "hush-hush"
policy = [{ action = "execute-api:*", resource = "*" }]
"""


def loaded(directory: Path, text: str) -> Config:
    file = directory / "headrace.toml"
    file.write_text(text)
    return load(file=file, environment={})


def test_the_section_is_read_from_the_file(tmp_path: Path) -> None:
    section = loaded(tmp_path, FILE).apigateway
    assert (section.open, section.region, section.account) == (False, "eu-west-1", "000000000000")
    assert [api.name for api in section.apis] == ["chat", "news"]
    assert [credential.access_key for credential in section.credentials] == ["AKIAEXAMPLE"]
    found = {stage.path: (api.name, stage.name) for api in section.apis for stage in api.stages}
    assert found == {"/prod": ("chat", "prod"), "/dev": ("chat", "dev"), "/live": ("news", "live")}


def test_an_operator_sees_names_and_no_secret(tmp_path: Path) -> None:
    rows = {key: value for key, value, _, _ in explain(loaded(tmp_path, FILE))}
    assert rows["apigateway.apis"] == "chat at /prod, /dev; news at /live"
    assert rows["apigateway.credentials"] == "AKIAEXAMPLE"
    assert "hush-hush" not in str(rows)


def test_an_operator_sees_that_there_are_none() -> None:
    rows = {key: value for key, value, _, _ in explain(Config())}
    assert rows["apigateway.apis"] == rows["apigateway.credentials"] == "not set"


def test_mistakes_stand_with_the_file_the_line_and_their_place(tmp_path: Path) -> None:
    text = FILE.replace('"backend"', '"bakend"').replace('type = "mock"', 'type = "mok"').replace("secret =", "secrt =")
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    file = tmp_path / "headrace.toml"
    assert [mistake.place for mistake in error.value.mistakes] == [
        f'{file}:7 apigateway.apis.chat.routes."$default".integration',
        f"{file}:13 apigateway.apis.news.integrations.ping.type",
        f"{file}:19 apigateway.credentials.AKIAEXAMPLE.secrt",
        f"{file}:19 apigateway.credentials.AKIAEXAMPLE.secret",
    ]
    assert "hush-hush" not in str(error.value)


def an_api(name: str, stage: str) -> dict[str, object]:
    return {"name": name, "stage": stage, "routes": {"$default": {"integration": {"type": "mock"}}}}


@pytest.mark.parametrize(
    ("apis", "told"),
    [
        ([an_api("a", "x"), an_api("a", "y")], "a: two APIs have this name"),
        (
            [an_api("a", "x"), an_api("b", "x")],
            "b: stage x of a is at the path /x too; give one of them another path",
        ),
        (
            [{**an_api("a", ""), "stages": {"x": {"path": "/p"}, "y": {"path": "/p"}}}],
            "a: stage x of a is at the path /p too; give one of them another path",
        ),
    ],
)
def test_names_and_paths_are_unique(apis: list[object], told: str) -> None:
    with pytest.raises(Mistakes) as error:
        read_apis(apis)
    assert [str(mistake) for mistake in error.value.mistakes] == [told]


def test_a_name_may_be_that_of_another_ones_path() -> None:
    assert len(read_apis([an_api("a", "b"), an_api("b", "a")])) == 2


def test_access_keys_are_unique() -> None:
    one = {"access_key": "AKIA", "secret": "s", "policy": [{"action": "*", "resource": "*"}]}
    with pytest.raises(Mistakes) as error:
        read_credentials([one, one, {**one, "access_key": "B"}])
    assert [str(mistake) for mistake in error.value.mistakes] == ["AKIA: two credentials have this access_key"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("REGION", "eu west"), ("ACCOUNT", "123"), ("ACCOUNT", "x" * 12), ("DOMAIN", "https://push.example.com")],
)
def test_what_arns_and_events_say_has_its_form(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"HEADRACE_APIGATEWAY_{variable}: this must be"):
        load(environment={f"HEADRACE_APIGATEWAY_{variable}": value})


def test_the_lists_may_be_json_in_the_environment() -> None:
    config = load(environment={"HEADRACE_APIGATEWAY_APIS": json.dumps([an_api("a", "x")])})
    assert [api.name for api in config.apigateway.apis] == ["a"]
    with pytest.raises(ConfigError, match=r"HEADRACE_APIGATEWAY_APIS\.a\.stage: an API needs a stage"):
        load(environment={"HEADRACE_APIGATEWAY_APIS": json.dumps([an_api("a", "")])})
