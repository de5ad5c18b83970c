"""The Helm chart: what it makes of its values, held against Kubernetes' own words by hand where no cluster is there.

`helm` renders it; without `helm` only what needs none is tested.
"""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "headrace"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

KUBERNETES = "1.30.0"
"""What the chart is rendered for: a `helm` that was built without a version takes itself for an older one."""

needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def rendered(*settings: str) -> dict[tuple[str, str], Any]:
    """Return the chart's objects by kind and name."""
    options = [word for setting in ("existingSecret=tokens", *settings) for word in ("--set", setting)]
    done = subprocess.run(
        ["helm", "template", "here", str(CHART), "--namespace", "ns", "--kube-version", KUBERNETES, *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {(made["kind"], made["metadata"]["name"]): made for made in yaml.safe_load_all(done.stdout) if made}


def container(objects: dict[tuple[str, str], Any]) -> Any:
    return objects["Deployment", "here-headrace"]["spec"]["template"]["spec"]["containers"][0]


def environment(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    return {variable["name"]: variable for variable in container(objects)["env"]}


def test_the_defaults_are_allowed_and_every_value_has_its_rule() -> None:
    jsonschema_rs.validate(SCHEMA, VALUES)
    assert set(VALUES) == set(SCHEMA["properties"]) - {"global"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicaCount": 0},
        {"replicas": 3},
        {"nameOverride": "Upper_case"},
        {"fullnameOverride": "-a"},
        {"podLabels": {"app.kubernetes.io/name": "another"}},
        {"image": {"digest": "latest"}},
        {"redis": {"url": "localhost"}},
        {"drain": {"seconds": 0}},
        {"service": {"type": "Headless"}},
        {"probes": {"liveness": {"period": 1}}},
    ],
)
def test_values_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    assert not jsonschema_rs.is_valid(SCHEMA, wrong)


def test_it_has_the_version_of_what_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


def test_the_port_and_the_user_are_the_images() -> None:
    image = (ROOT / "Dockerfile").read_text()
    assert "EXPOSE 8080" in image
    assert f"USER {VALUES['podSecurityContext']['runAsUser']}" in image


def test_every_option_that_it_sets_exists() -> None:
    from gateway.config import OPTIONS

    text = (CHART / "templates" / "deployment.yaml").read_text()
    known = {option.variable for option in OPTIONS.values()} | {"HEADRACE_CONFIG"}
    assert set(re.findall(r"name: (HEADRACE_\w+)", text)) <= known


@needs_helm
def test_a_secret_must_be_named() -> None:
    command = ["helm", "template", str(CHART), "--kube-version", KUBERNETES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "existingSecret is required" in done.stderr


@needs_helm
def test_a_pod_may_take_the_time_that_its_drain_takes() -> None:
    objects = rendered("drain.endpointsSeconds=3", "drain.seconds=40", "drain.marginSeconds=10")
    pod = objects["Deployment", "here-headrace"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 53
    assert container(objects)["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "3"]
    assert environment(objects)["HEADRACE_DRAIN_SECONDS"]["value"] == "40"


@needs_helm
def test_secrets_come_from_the_secret_and_stand_nowhere() -> None:
    variables = environment(rendered())
    for name, key in [
        ("HEADRACE_SERVICE_TOKEN", "service-token"),
        ("HEADRACE_SECRET_KEY", "secret-key"),
        ("HEADRACE_REDIS", "redis-url"),
    ]:
        assert variables[name] == {"name": name, "valueFrom": {"secretKeyRef": {"name": "tokens", "key": key}}}
    assert environment(rendered("redis.url=redis://r:6379"))["HEADRACE_REDIS"]["value"] == "redis://r:6379"


@needs_helm
def test_services_find_the_pods_and_one_of_them_names_each() -> None:
    objects = rendered()
    labels = objects["Deployment", "here-headrace"]["spec"]["template"]["metadata"]["labels"]
    for name in ("here-headrace", "here-headrace-nodes"):
        spec = objects["Service", name]["spec"]
        assert spec["selector"].items() <= labels.items()
        assert spec["ports"][0]["targetPort"] == "http"
    assert objects["Service", "here-headrace-nodes"]["spec"]["clusterIP"] == "None"
    assert environment(objects)["HEADRACE_ADVERTISE"]["value"] == "http://$(POD_IP):8080"


@needs_helm
def test_variables_that_others_are_made_of_come_first() -> None:
    names = list(environment(rendered()))
    assert names.index("POD_IP") < names.index("HEADRACE_ADVERTISE")
    assert names.index("POD_NAME") < names.index("HEADRACE_NAME")


@needs_helm
def test_probes_ask_what_they_are_for() -> None:
    probed = container(rendered())
    assert probed["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert probed["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert probed["readinessProbe"]["httpGet"]["path"] == "/readyz"


@needs_helm
def test_the_configuration_is_one_that_a_node_takes(tmp_path: Path) -> None:
    from gateway.config import load

    text = rendered()["ConfigMap", "here-headrace"]["data"]["headrace.toml"]
    file = tmp_path / "headrace.toml"
    file.write_text(text)
    assert load(file=file, environment={}).limits.connections == 50_000


@needs_helm
def test_a_changed_configuration_restarts_the_pods() -> None:
    def checksum(*settings: str) -> str:
        pod = rendered(*settings)["Deployment", "here-headrace"]["spec"]["template"]
        return str(pod["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum()
    assert checksum() != checksum("config=weight = 3")


@needs_helm
def test_one_node_has_no_disruption_budget() -> None:
    budget = ("PodDisruptionBudget", "here-headrace")
    assert budget in rendered()
    assert budget not in rendered("replicaCount=1")
    assert budget not in rendered("podDisruptionBudget.enabled=false")


@needs_helm
def test_long_names_stay_within_kubernetes_bounds() -> None:
    for _, name in rendered("fullnameOverride=" + "n" * 80):
        assert len(name) <= 63
