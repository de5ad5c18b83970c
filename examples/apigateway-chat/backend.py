"""Stands where Lambda would: it is sent each event as JSON, calls the handler, and answers with what that returns.

It also serves the page, at http://localhost:9000. The handler reads the rest from the environment; what is set here
are the values of headrace.toml.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", "http://localhost:8080/prod")
os.environ.setdefault("AWS_ACCESS_KEY_ID", "AKIDCHAT")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "only-for-trying-it-out-on-one-machine")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from chat import handler

PAGE = Path(__file__).with_name("index.html")


class Lambda(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        result = handler(event, SimpleNamespace(aws_request_id=event["requestContext"]["requestId"]))
        self._answer(json.dumps(result).encode(), "application/json")

    def do_GET(self) -> None:
        self._answer(PAGE.read_bytes(), "text/html; charset=utf-8")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    print(f"the chat is at http://localhost:{port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Lambda).serve_forever()
