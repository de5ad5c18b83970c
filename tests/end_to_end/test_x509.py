"""ARGO's own library gets its token with a certificate, and uses it."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import nodes
from servers import free_port

from gateway.authority import Authority

ARGO = """
import sys
from argo_ams_library import ArgoMessagingService

service = ArgoMessagingService(endpoint="127.0.0.1", cert=sys.argv[1], key=sys.argv[2], authn_port=int(sys.argv[3]))
print(service.token)
"""


def test_the_original_library_is_given_its_users_token(tmp_path: Path) -> None:
    authority, port = Authority(tmp_path / "ca"), free_port()
    node_pair, alice = authority.issue("node"), authority.issue("alice")
    bindings = tmp_path / "bindings.toml"
    bindings.write_text('"CN=alice" = "alice"\n')
    options = ("--tls-cert", str(node_pair.certificate), "--tls-key", str(node_pair.key))
    ca = str(authority.files.certificate)
    env = {
        "HEADRACE_X509_PORT": str(port),
        "HEADRACE_X509_AUTHORITIES": ca,
        "HEADRACE_X509_BINDINGS": str(bindings),
    }
    with nodes.node(options=options, ca=ca, env=env) as node:
        made = httpx.post(f"{node.url}/v1/users/alice", headers=node.headers, content="{}", verify=node.tls or True)
        assert made.status_code == 200, made.text
        ran = subprocess.run(
            [sys.executable, "-c", ARGO, str(alice.certificate), str(alice.key), str(port)],
            env={**os.environ, "REQUESTS_CA_BUNDLE": ca},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.stdout.strip() == made.json()["token"], ran.stderr
        own = {"x-api-key": ran.stdout.strip()}
        profile = httpx.get(f"{node.url}/v1/users/profile", headers=own, verify=node.tls or True)
        assert profile.json()["name"] == "alice", profile.text
        assert made.json()["token"] not in node.log
