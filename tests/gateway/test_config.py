"""The configuration: which source counts, what every mistake says, and that secrets do not show."""

from pathlib import Path

import pytest

from broker.catalog import AutoCreate
from broker.store.base import Retention
from gateway.config import OPTIONS, Auth, Config, ConfigError, explain, load
from gateway.options import Secret

TOKEN = "a-service-token-of-tests"
KEY = "k" * 32


def a_file(directory: Path, text: str) -> Path:
    path = directory / "headrace.toml"
    path.write_text(text)
    return path


def mistakes_of(
    text: str | None = None,
    *,
    directory: Path | None = None,
    environment: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> list[str]:
    file = a_file(directory, text) if directory and text is not None else None
    with pytest.raises(ConfigError) as error:
        load(flags, file=file, environment=environment or {})
    return [str(mistake) for mistake in error.value.mistakes]


def test_without_anything_it_is_the_default_of_an_embedded_node() -> None:
    config = load(environment={})
    assert config == Config()
    assert config.is_embedded
    assert (config.host, config.port, config.prefix) == ("127.0.0.1", 8080, "hr")
    assert config.sources == {}


def test_flags_go_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = a_file(tmp_path, 'host = "f"\nport = 1\nname = "f"\n[limits]\nconnections = 1\nping_seconds = 1\n')
    environment = {"HEADRACE_PORT": "2", "HEADRACE_NAME": "e", "HEADRACE_LIMITS_CONNECTIONS": "2"}
    config = load({"name": "g", "host": None}, file=file, environment=environment)
    assert (config.host, config.port, config.name) == ("f", 2, "g")
    assert (config.limits.connections, config.limits.ping_seconds) == (2, 1.0)
    assert config.sources == {
        "host": f"{file}:1 host",
        "port": "HEADRACE_PORT",
        "name": "--name",
        "limits.connections": "HEADRACE_LIMITS_CONNECTIONS",
        "limits.ping_seconds": f"{file}:6 limits.ping_seconds",
    }


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = a_file(tmp_path, "port = 7")
    assert load(environment={"HEADRACE_CONFIG": str(file)}).port == 7
    assert load(environment={"HEADRACE_CONFIG": ""}).port == 8080


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PORT", "7")
    assert load().port == 7


def test_every_option_can_be_set_in_each_of_the_three_ways(tmp_path: Path) -> None:
    samples = {
        "host": "::1",
        "data": "d",
        "name": "n",
        "advertise": "https://n:1",
        "prefix": "p",
        "redis": "redis://x",
        "service_token": TOKEN,
        "secret_key": KEY,
        "secret_key_old": KEY,
        "per_resource_auth": "false",
        "allowed_origins": "https://a",
        "auto_create": "none",
        "auth.keys": '[{"kid":"a","algorithm":"HS256","secret":"' + KEY + '"}]',
        "auth.jwks_url": "https://a/",
        "auth.jwks_plain_http": "true",
        "auth.issuer": "i",
        "auth.audience": "a",
        "auth.require_expiry": "false",
        "auth.anonymous_publish": "p/*",
        "auth.anonymous_subscribe": "p/*",
        "x509.authorities": "ca.pem",
        "x509.bindings": "b.toml",
        "retention.max_age_seconds": "300",
        "projects.no_subscriber": "refuse",
        "push.enabled": "false",
        "push.plain_http": "true",
        "push.allowed_networks": "10.0.0.0/8",
        "push.ports": "443",
        "channel.enabled": "false",
        "channel.profile": "strict",
        "channel.second": "mirrors",
        "channel.presence_retry": "true",
        "channel.presence_url": "https://a",
        "channel.client_id_bytes": "100",
        "apigateway.open": "true",
        "apigateway.region": "eu-west-1",
        "apigateway.account": "123456789012",
        "apigateway.unsigned_payload": "true",
        "apigateway.check_origin": "true",
        "apigateway.apis": '[{"name":"a","stage":"b","routes":{"c":{"integration":{"type":"mock"}}}}]',
        "apigateway.credentials": '[{"access_key":"A","secret":"b","policy":[{"action":"*","resource":"*"}]}]',
        "migratorydata.project": "p",
        "migratorydata.entitlement": "none",
        "migratorydata.entitlement_allow_token": TOKEN,
        "migratorydata.entitlement_hook": "m:f",
        "embedded.engine": "/x",
        "log.format": "json",
        "log.level": "debug",
        "limits.frame_bytes": "2300000",
        "limits.message_bytes": "1400000",
        "limits.waiting_publish_bytes": "138000000",
        "limits.waiting_publish_bytes_per_topic": "17000000",
    }
    samples |= {key: "3" for key in OPTIONS if key not in samples and not key.endswith("_bytes")}
    samples |= {key: "70000" for key in OPTIONS if key not in samples}
    assert set(samples) == set(OPTIONS)
    file = a_file(tmp_path, "".join(f"{key} = '{value}'\n" for key, value in samples.items()))
    by_flag = load(samples, environment={})
    by_variable = load(environment={OPTIONS[key].variable: value for key, value in samples.items()})
    by_file = load(file=file, environment={})
    assert by_flag == by_variable == by_file
    default = {key: value for key, value, _, _ in explain(Config())}
    changed = {key: value for key, value, _, _ in explain(by_file)}
    assert [key for key in OPTIONS if default[key] == changed[key]] == []


def test_every_mistake_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    text = "\n".join(
        (
            "prot = 80",
            'port = "x"',
            "[limits]",
            "conections = 5",
            "batch_messages = 5000",
            "[auth]",
            "anonymous_publish = ['*/x']",
            "[loging]",
            "level = 'info'",
        )
    )
    environment = {"HEADRACE_REDIS": "http://x", "HEADRACE_LOG_LEVEL": "loud", "HEADRACE_ALOWED_ORIGINS": "x"}
    found = mistakes_of(text, directory=tmp_path, environment=environment, flags={"prefix": "a b"})
    file = tmp_path / "headrace.toml"
    for beginning in (
        f"{file}:1 prot: there is no such option; did you mean port?",
        f"{file}:2 port: this must be a whole number (it is 'x')",
        f"{file}:4 limits.conections: there is no such option; did you mean limits.connections?",
        f"{file}:5 limits.batch_messages: this must be at most 1_000 (it is '5000')",
        f"{file}:7 auth.anonymous_publish: The pattern '*/x' has a * that is not at its end.",
        f"{file}:8 loging: there is no such option; did you mean log?",
        "HEADRACE_LOG_LEVEL: this must be one of debug, info, warning, error (it is 'loud')",
        "HEADRACE_ALOWED_ORIGINS: there is no such option; did you mean HEADRACE_ALLOWED_ORIGINS?",
        "HEADRACE_REDIS: must be a URL with a host",
        "--prefix: must be 1 to 32",
        "service_token: is needed together with redis: set HEADRACE_SERVICE_TOKEN",
        "secret_key: is needed together with redis: set HEADRACE_SECRET_KEY",
    ):
        assert any(mistake.startswith(beginning) for mistake in found), beginning
    assert len(found) == 12


BAD_FILES = [
    ("port = = 1", "the file is not TOML"),
    ("port = 1\nport = 2", "the file is not TOML"),
    ("\xff".encode("latin-1"), "the file is not TOML"),
    (b"#" * (1024 * 1024 + 1), "longer than"),
    ("limits = 5", "limits: there is no such option"),
    ("[host]\nx = 1", "host: this must be a text"),
    ("[limits.connections]\nx = 1", "limits.connections: this must be a whole number"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD_FILES)
def test_a_file_that_cannot_be_understood_is_a_mistake(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    file = tmp_path / "headrace.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=sentence):
        load(file=file, environment={})


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file=tmp_path / "none.toml", environment={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file=tmp_path, environment={})


IGNORED = {
    # Kubernetes, beside a service called headrace.
    "HEADRACE_PORT": "tcp://10.0.0.1:8080",
    "HEADRACE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "HEADRACE_PORT_8080_TCP_ADDR": "10.0.0.1",
    "HEADRACE_SERVICE_HOST": "10.0.0.1",
    "HEADRACE_SERVICE_PORT": "8080",
    "HEADRACE_SERVICE_PORT_HTTP": "8080",
    "HEADRACE_HEADLESS_SERVICE_HOST": "10.0.0.1",
    # The command line's own.
    "HEADRACE_TOKEN": "x",
    "HEADRACE_SERVER": "x",
    # Compose files say "not given" like this.
    "HEADRACE_REDIS": "",
    "HEADRACE_AUTO_CREATE": "",
    # Somebody else's.
    "HEADRACE_ZZZ": "x",
    "PORT": "1",
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_not_meant_for_the_node_is_ignored(name: str) -> None:
    assert load(environment={name: IGNORED[name]}) == Config()


def test_secrets_do_not_show() -> None:
    auth = '[{"kid":"a","algorithm":"HS256","secret":"' + "s" * 32 + '"}]'
    environment = {
        "HEADRACE_SERVICE_TOKEN": TOKEN,
        "HEADRACE_SECRET_KEY": KEY,
        "HEADRACE_REDIS": "rediss://user:pass-word@host/0",
        "HEADRACE_AUTH_KEYS": auth,
    }
    config = load(environment=environment)
    shown = f"{config!r} {explain(config)}"
    for secret in (TOKEN, KEY, "pass-word", "s" * 32):
        assert secret not in shown
    rows = {key: (value, source) for key, value, source, _ in explain(config)}
    assert rows["service_token"] == ("set", "HEADRACE_SERVICE_TOKEN")
    assert rows["redis"] == ("set", "HEADRACE_REDIS")
    assert rows["auth.keys"] == ("set", "HEADRACE_AUTH_KEYS")


def test_a_mistake_in_a_secret_does_not_show_it() -> None:
    environment = {
        "HEADRACE_SERVICE_TOKEN": "tiny-secret",
        "HEADRACE_SECRET_KEY": "tiny-key",
        "HEADRACE_REDIS": "foo://user:pass-word@host/0",
        "HEADRACE_AUTH_KEYS": '[{"kid":"a","algorithm":"HS256","secret":"tiny-hmac"}]',
    }
    found = mistakes_of(environment=environment)
    assert len(found) == 4
    for secret in ("tiny", "pass-word"):
        assert not any(secret in mistake for mistake in found)


def test_explain_tells_every_option_with_its_source_and_meaning() -> None:
    rows = explain(load({"allowed_origins": "https://a,https://b"}, environment={"HEADRACE_PORT": "9"}))
    assert [row[0] for row in rows] == list(OPTIONS)
    assert all(meaning.endswith(".") for _, _, _, meaning in rows)
    by_key = {key: (value, source) for key, value, source, _ in rows}
    assert by_key["port"] == ("9", "HEADRACE_PORT")
    assert by_key["allowed_origins"] == ("https://a, https://b", "--allowed-origins")
    assert by_key["host"] == ("127.0.0.1", "default")
    assert by_key["service_token"] == ("not set", "default")
    assert by_key["auth.require_expiry"] == ("true", "default")


def test_topics_are_created_by_use_everywhere_in_embedded_mode_and_in_default_elsewhere() -> None:
    elsewhere = Config(redis=Secret("redis://x"))
    assert Config().catalog_defaults.auto_create is AutoCreate.ALL
    assert elsewhere.catalog_defaults.auto_create is AutoCreate.DEFAULT
    assert Config(auto_create=AutoCreate.NONE).catalog_defaults.auto_create is AutoCreate.NONE


def test_the_catalog_gets_its_share() -> None:
    config = load({"retention.max_age_seconds": 500}, environment={})
    assert config.catalog_defaults.retention == Retention(1_000_000, 2**30, 500_000)


def test_keys_stand_in_the_file_as_tables(tmp_path: Path) -> None:
    file = a_file(tmp_path, f'[[auth.keys]]\nkid = "a"\nalgorithm = "HS256"\nsecret = "{KEY}"\n')
    (key,) = load(file=file, environment={}).auth.keys
    assert key.kid == "a"
    assert Auth().keys == ()


def test_the_page_for_operators_lists_every_option_with_its_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    assert [key for key, known in OPTIONS.items() if f"| `{key}` |" not in page or known.meaning not in page] == []
    assert page.count("\n| `") == len(OPTIONS)
