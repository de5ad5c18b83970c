"""A small ARGO service in memory, over http or https, that misbehaves on request, to try clients of its API with.

It follows the contract where a client could tell, and no further: one token may do everything, nothing expires.
"""

import itertools
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "stub-service-token"
MAX_DATA = 100_000

Document = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"error": {"code": status, "message": message, "status": word}}


@dataclass
class Fault:
    """Instead of an answer: a status with a body, silence for `hang_s`, or a connection that is cut."""

    status: int = 0
    body: bytes = b""
    hang_s: float = 0.0
    cut: bool = False
    after: bool = False
    """Do what was asked first."""


@dataclass
class Seen:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class Log:
    messages: list[Document] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    acl: list[str] = field(default_factory=list)
    keys: dict[str, Document] = field(default_factory=dict)


@dataclass
class Cursor:
    document: Document
    topic: str
    offset: int
    window: int = 0
    acl: list[str] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)
    extended: list[tuple[list[str], int]] = field(default_factory=list)


class Argo:
    """The state, and `answer`. One lock: requests are taken one by one."""

    def __init__(self) -> None:
        self.projects: dict[str, Document] = {"P": {"name": "P"}}
        self.topics: dict[tuple[str, str], Log] = {}
        self.subs: dict[tuple[str, str], Cursor] = {}
        self.users: dict[str, Document] = {"operator": _user("operator", TOKEN)}
        self.lock = threading.Lock()
        self._numbers = itertools.count(1)

    def answer(self, seen: Seen) -> Document:
        with self.lock:
            if ":authx509" in seen.path:
                return {"token": TOKEN}
            if seen.path in ("/v1/status", "/v1/version"):
                return {"status": "ok"} if seen.path.endswith("status") else {"release": "1.0", "golang": ""}
            if not any(user["token"] == seen.headers.get("x-api-key") for user in self.users.values()):
                raise Refused(401, "UNAUTHORIZED", "Unauthorized")
            for pattern, handle in _TABLE:
                found = re.fullmatch(pattern, f"{seen.method} {seen.path}")
                if found:
                    return handle(self, seen, *map(unquote, found.groups()))
            raise Refused(404, "NOT_FOUND", "404 page not found")

    # topics

    def create_topic(self, seen: Seen, project: str, name: str) -> Document:
        if (project, name) in self.topics:
            raise Refused(409, "ALREADY_EXISTS", "Topic already exists")
        self.topics[project, name] = Log()
        return _topic(project, name)

    def get_topic(self, seen: Seen, project: str, name: str) -> Document:
        self.log(project, name)
        return _topic(project, name)

    def list_topics(self, seen: Seen, project: str) -> Document:
        listed = [_topic(*key) for key in self.topics if key[0] == project]
        return {"topics": listed, "nextPageToken": "", "totalSize": len(listed)}

    def delete_topic(self, seen: Seen, project: str, name: str) -> Document:
        self.log(project, name)
        del self.topics[project, name]
        return {}

    def log(self, project: str, name: str) -> Log:
        if project not in self.projects:
            raise Refused(404, "NOT_FOUND", "project doesn't exist")
        if (project, name) not in self.topics:
            raise Refused(404, "NOT_FOUND", "Topic doesn't exist")
        return self.topics[project, name]

    def publish(self, seen: Seen, project: str, name: str) -> Document:
        log = self.log(project, name)
        key = seen.headers.get("idempotency-key", "")
        if key in log.keys:
            return log.keys[key]
        messages = json.loads(seen.body)["messages"]
        if any(len(message.get("data", "")) > MAX_DATA for message in messages):
            raise Refused(413, "INVALID_ARGUMENT", "Message size is too large")
        first = len(log.messages)
        for number, message in enumerate(messages, first):
            now = datetime.now(UTC)
            kept = {"attributes": message["attributes"]} if message.get("attributes") else {}
            stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            log.messages.append(
                {"messageId": str(number), **kept, "data": message.get("data", ""), "publishTime": stamp}
            )
            log.times.append(now)
        answer = {"messageIds": [str(number) for number in range(first, len(log.messages))]}
        if key:
            log.keys[key] = answer
        return answer

    def acl(self, seen: Seen, project: str, kind: str, name: str) -> Document:
        return {"authorized_users": self._acl_holder(project, kind, name).acl}

    def modify_acl(self, seen: Seen, project: str, kind: str, name: str) -> Document:
        users = json.loads(seen.body)["authorized_users"]
        unknown = [user for user in users if user not in self.users]
        if unknown:
            raise Refused(404, "NOT_FOUND", f"User(s): {', '.join(unknown)} do not exist")
        self._acl_holder(project, kind, name).acl = users
        return {}

    def _acl_holder(self, project: str, kind: str, name: str) -> Log | Cursor:
        return self.log(project, name) if kind == "topics" else self.sub(project, name)

    # subscriptions

    def create_sub(self, seen: Seen, project: str, name: str) -> Document:
        wanted = json.loads(seen.body)
        topic = wanted["topic"].split("/")[3]
        log = self.log(project, topic)
        if (project, name) in self.subs:
            raise Refused(409, "ALREADY_EXISTS", "Subscription already exists")
        document = {
            "name": f"/projects/{project}/subscriptions/{name}",
            "topic": f"/projects/{project}/topics/{topic}",
            "pushConfig": _push(wanted.get("pushConfig") or {}),
            "ackDeadlineSeconds": wanted.get("ackDeadlineSeconds") or 10,
            "createdOn": "2026-01-01T00:00:00Z",
            **({"kind": wanted["kind"]} if "kind" in wanted else {}),
        }
        self.subs[project, name] = Cursor(document, topic, len(log.messages))
        return document

    def sub(self, project: str, name: str) -> Cursor:
        if (project, name) not in self.subs:
            raise Refused(404, "NOT_FOUND", "Subscription doesn't exist")
        return self.subs[project, name]

    def get_sub(self, seen: Seen, project: str, name: str) -> Document:
        return self.sub(project, name).document

    def list_subs(self, seen: Seen, project: str) -> Document:
        listed = [cursor.document for key, cursor in self.subs.items() if key[0] == project]
        return {"subscriptions": listed, "nextPageToken": "", "totalSize": len(listed)}

    def delete_sub(self, seen: Seen, project: str, name: str) -> Document:
        self.sub(project, name)
        del self.subs[project, name]
        return {}

    def pull(self, seen: Seen, project: str, name: str) -> Document:
        cursor, wanted = self.sub(project, name), json.loads(seen.body)
        messages = self.log(project, cursor.topic).messages
        taken = messages[cursor.offset : cursor.offset + int(wanted["maxMessages"])]
        cursor.window = cursor.offset + len(taken)
        prefix = f"projects/{project}/subscriptions/{name}:"
        return {"receivedMessages": [{"ackId": prefix + one["messageId"], "message": one} for one in taken]}

    def acknowledge(self, seen: Seen, project: str, name: str) -> Document:
        cursor, ids = self.sub(project, name), json.loads(seen.body)["ackIds"]
        prefix = f"projects/{project}/subscriptions/{name}:"
        if not ids or not all(one.startswith(prefix) for one in ids):
            raise Refused(400, "INVALID_ARGUMENT", "Invalid ack id")
        cursor.acked += ids
        target = max(int(one.removeprefix(prefix).partition(".")[0]) for one in ids) + 1
        if target > cursor.window and target > cursor.offset:
            raise Refused(400, "INVALID_ARGUMENT", "wrong ack")
        cursor.offset, cursor.window = max(cursor.offset, target), 0
        return {}

    def modify_deadline(self, seen: Seen, project: str, name: str) -> Document:
        cursor, wanted = self.sub(project, name), json.loads(seen.body)
        if "ackIds" in wanted:
            cursor.extended.append((wanted["ackIds"], wanted["ackDeadlineSeconds"]))
        else:
            cursor.document["ackDeadlineSeconds"] = wanted["ackDeadlineSeconds"]
        return {}

    def modify_push(self, seen: Seen, project: str, name: str) -> Document:
        self.sub(project, name).document["pushConfig"] = _push(json.loads(seen.body)["pushConfig"])
        return {}

    def offsets(self, seen: Seen, project: str, name: str) -> Document:
        cursor = self.sub(project, name)
        return {"max": len(self.log(project, cursor.topic).messages), "min": 0, "current": cursor.offset}

    def modify_offset(self, seen: Seen, project: str, name: str) -> Document:
        cursor, offset = self.sub(project, name), json.loads(seen.body)["offset"]
        if not 0 <= offset <= len(self.log(project, cursor.topic).messages):
            raise Refused(400, "INVALID_ARGUMENT", "Offset out of bounds")
        cursor.offset, cursor.window = offset, 0
        return {}

    def time_to_offset(self, seen: Seen, project: str, name: str) -> Document:
        text = seen.query["time"][0].replace(" ", "T").removesuffix("Z")
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        times = self.log(project, self.sub(project, name).topic).times
        found = next((number for number, published in enumerate(times) if published >= moment), None)
        if found is None:
            raise Refused(409, "CONFLICT", "Timestamp is out of bounds for the subscription's topic/partition")
        return {"offset": found}

    # users and projects

    def create_user(self, seen: Seen, name: str) -> Document:
        if name in self.users:
            raise Refused(409, "ALREADY_EXISTS", "User already exists")
        self.users[name] = _user(name, f"token-{next(self._numbers)}") | json.loads(seen.body)
        return self.users[name]

    def user(self, name: str) -> Document:
        if name not in self.users:
            raise Refused(404, "NOT_FOUND", "User doesn't exist")
        return self.users[name]

    def get_user(self, seen: Seen, name: str) -> Document:
        return self.user(name)

    def find_user(self, seen: Seen, key: str, value: str) -> Document:
        column = {"byToken": "token", "byUUID": "uuid"}[key]
        return self.user(next((name for name, user in self.users.items() if user[column] == value), "?"))

    def profile(self, seen: Seen) -> Document:
        return next(user for user in self.users.values() if user["token"] == seen.headers["x-api-key"])

    def list_users(self, seen: Seen) -> Document:
        size = int(seen.query.get("pageSize", ["0"])[0])
        token = seen.query.get("pageToken") or seen.query.get("nextPageToken") or ["0"]
        first = int(token[0] or 0)
        everyone = list(self.users.values())
        shown = everyone[first : first + size] if size else everyone
        following = str(first + size) if size and first + size < len(everyone) else ""
        return {"users": shown, "nextPageToken": following, "totalSize": len(everyone)}

    def update_user(self, seen: Seen, name: str) -> Document:
        user = self.users.pop(self.user(name)["name"]) | json.loads(seen.body)
        self.users[user["name"]] = user
        return user

    def delete_user(self, seen: Seen, name: str) -> Document:
        self.user(name)
        del self.users[name]
        return {}

    def refresh(self, seen: Seen, name: str) -> Document:
        self.user(name)["token"] = f"token-{next(self._numbers)}"
        return self.user(name)

    def create_project(self, seen: Seen, name: str) -> Document:
        if name in self.projects:
            raise Refused(409, "ALREADY_EXISTS", "Project already exists")
        self.projects[name] = {"name": name, **json.loads(seen.body)}
        return self.projects[name]

    def get_project(self, seen: Seen, name: str) -> Document:
        if name not in self.projects:
            raise Refused(404, "NOT_FOUND", "project doesn't exist")
        return self.projects[name]

    def update_project(self, seen: Seen, name: str) -> Document:
        project = self.get_project(seen, name) | json.loads(seen.body)
        del self.projects[name]
        self.projects[project["name"]] = project
        return project

    def delete_project(self, seen: Seen, name: str) -> Document:
        self.get_project(seen, name)
        del self.projects[name]
        return {}

    def get_member(self, seen: Seen, project: str, name: str) -> Document:
        if not any(place["project"] == project for place in self.user(name)["projects"]):
            raise Refused(404, "NOT_FOUND", "User doesn't exist")
        return self.user(name)

    def add_member(self, seen: Seen, project: str, name: str) -> Document:
        if any(place["project"] == project for place in self.user(name)["projects"]):
            raise Refused(409, "CONFLICT", "User is already a member of the project")
        place = {"project": project, "roles": json.loads(seen.body)["roles"], "topics": [], "subscriptions": []}
        self.user(name)["projects"].append(place)
        return self.user(name)

    def create_member(self, seen: Seen, project: str, name: str) -> Document:
        return self.create_user(seen, name)

    def remove_member(self, seen: Seen, project: str, name: str) -> Document:
        user = self.get_member(seen, project, name)
        user["projects"] = [place for place in user["projects"] if place["project"] != project]
        return {}

    def report(self, seen: Seen) -> Document:
        return {"projects_metrics": {"projects": []}, "va_metrics": {}, "operational_metrics": {}}

    def metrics(self, seen: Seen) -> Document:
        return {"metrics": [{"metric": "ams_node.cpu_usage"}]}


_NAME = "([^/:]+)"
_PROJECTS = f"/v1/projects/{_NAME}"
_SUB = f"{_PROJECTS}/subscriptions/{_NAME}"
_TABLE: list[tuple[str, Callable[..., Document]]] = [
    (f"PUT {_PROJECTS}/topics/{_NAME}", Argo.create_topic),
    (f"GET {_PROJECTS}/topics/{_NAME}", Argo.get_topic),
    (f"DELETE {_PROJECTS}/topics/{_NAME}", Argo.delete_topic),
    (f"GET {_PROJECTS}/topics", Argo.list_topics),
    (f"POST {_PROJECTS}/topics/{_NAME}:publish", Argo.publish),
    (f"GET {_PROJECTS}/(topics|subscriptions)/{_NAME}:acl", Argo.acl),
    (f"POST {_PROJECTS}/(topics|subscriptions)/{_NAME}:modifyAcl", Argo.modify_acl),
    (f"PUT {_SUB}", Argo.create_sub),
    (f"GET {_SUB}", Argo.get_sub),
    (f"DELETE {_SUB}", Argo.delete_sub),
    (f"GET {_PROJECTS}/subscriptions", Argo.list_subs),
    (f"POST {_SUB}:pull", Argo.pull),
    (f"POST {_SUB}:acknowledge", Argo.acknowledge),
    (f"POST {_SUB}:modifyAckDeadline", Argo.modify_deadline),
    (f"POST {_SUB}:modifyPushConfig", Argo.modify_push),
    (f"GET {_SUB}:offsets", Argo.offsets),
    (f"POST {_SUB}:modifyOffset", Argo.modify_offset),
    (f"GET {_SUB}:timeToOffset", Argo.time_to_offset),
    ("GET /v1/users/profile", Argo.profile),
    ("GET /v1/users/usageReport", Argo.report),
    ("GET /v1/users", Argo.list_users),
    (f"GET /v1/users:(byToken|byUUID)/{_NAME}", Argo.find_user),
    (f"POST /v1/users/{_NAME}:refreshToken", Argo.refresh),
    (f"POST /v1/users/{_NAME}", Argo.create_user),
    (f"PUT /v1/users/{_NAME}", Argo.update_user),
    (f"GET /v1/users/{_NAME}", Argo.get_user),
    (f"DELETE /v1/users/{_NAME}", Argo.delete_user),
    (f"POST {_PROJECTS}/members/{_NAME}:add", Argo.add_member),
    (f"POST {_PROJECTS}/members/{_NAME}:remove", Argo.remove_member),
    (f"POST {_PROJECTS}/members/{_NAME}", Argo.create_member),
    (f"GET {_PROJECTS}/members/{_NAME}", Argo.get_member),
    (f"POST {_PROJECTS}", Argo.create_project),
    (f"PUT {_PROJECTS}", Argo.update_project),
    (f"GET {_PROJECTS}", Argo.get_project),
    (f"DELETE {_PROJECTS}", Argo.delete_project),
    ("GET /v1/metrics", Argo.metrics),
    ("GET /v1/metrics/va_metrics", Argo.report),
]


def _topic(project: str, name: str) -> Document:
    return {"name": f"/projects/{project}/topics/{name}", "created_on": "2026-01-01T00:00:00Z"}


def _user(name: str, token: str) -> Document:
    return {
        "uuid": f"uuid-of-{name}",
        "name": name,
        "email": "",
        "token": token,
        "projects": [],
        "service_roles": [],
        "created_on": "2026-01-01T00:00:00Z",
    }


def _push(wanted: Document) -> Document:
    retry = wanted.get("retryPolicy") or {}
    return {"type": wanted.get("type", ""), "pushEndpoint": wanted.get("pushEndpoint", ""), "retryPolicy": retry}


class Stub:
    """A listening service. `faults` are used up first, one a request whose path ends as given."""

    def __init__(self, argo: Argo, context: ssl.SSLContext | None = None) -> None:
        self.argo = argo
        self.seen: list[Seen] = []
        self.faults: list[tuple[str, Fault]] = []
        self.connections = itertools.count()
        self._server = _Server(self)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"localhost:{self.port}"

    def fail(self, path_end: str, fault: Fault, *, times: int = 1) -> None:
        self.faults += [(path_end, fault)] * times

    def to(self, path_end: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.endswith(path_end)]

    def take_fault(self, path: str) -> Fault | None:
        for index, (end, _) in enumerate(self.faults):
            if path.endswith(end):
                return self.faults.pop(index)[1]
        return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_all()
        self._thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, stub: Stub) -> None:
        super().__init__(("localhost", 0), _Handler)
        self.stub = stub
        self.open: set[socket.socket] = set()

    def cut_all(self) -> None:
        """Break what is still open, as a process that dies does."""
        for connection in list(self.open):
            _cut(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that goes away is what these tests do."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.number = next(self.server.stub.connections)
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _serve(self) -> None:
        stub, parts = self.server.stub, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, parts.path, parse_qs(parts.query), headers, body, self.number)
        stub.seen.append(seen)
        fault = stub.take_fault(parts.path)
        if fault is None:
            self._answer(*_outcome(stub.argo, seen))
            return
        if fault.after:
            _outcome(stub.argo, seen)
        sleep(fault.hang_s)
        if fault.cut or not fault.status:
            self.close_connection = True
            _cut(self.connection)
            return
        self._answer(fault.status, fault.body)

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _outcome(argo: Argo, seen: Seen) -> tuple[int, bytes]:
    try:
        document = argo.answer(seen)
    except Refused as refused:
        return refused.status, json.dumps(refused.document).encode()
    return 200, json.dumps(document).encode() if document else b""


@contextmanager
def stub(*, context: ssl.SSLContext | None = None, argo: Argo | None = None) -> Iterator[Stub]:
    """Run one. Stubs that are given the same `argo` are servers of one cluster."""
    running = Stub(argo or Argo(), context)
    try:
        yield running
    finally:
        running.close()


@dataclass(frozen=True)
class Authority:
    """A local CA: `ca` is its certificate; `cert` and `key` are for localhost and 127.0.0.1, on both sides of TLS."""

    ca: Path
    cert: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


def authority(directory: Path) -> Authority:
    """Make one in `directory`."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _common_name("Headrace's tests"), _common_name("localhost")
    ca = _certificate(ca_name, ca_key.public_key(), ca_name, ca_key, is_ca=True)
    cert = _certificate(name, key.public_key(), ca_name, ca_key, is_ca=False)
    made = Authority(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")
    made.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    made.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())
