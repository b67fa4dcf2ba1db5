"""What may stand before an API server, or in its place: TLS with whatever answers behind it.

``passing`` is a gateway that passes requests on to the real API server and does one thing wrong.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.real.cluster import Cluster

Headers = list[tuple[str, str]]


@contextlib.contextmanager
def answering(
    answer: Callable[[BaseHTTPRequestHandler], None], pair: tuple[Path, Path] | None
) -> Iterator[int]:
    """Yield the port of loopback where every request is answered so; with TLS if given a pair."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def page(handler: BaseHTTPRequestHandler) -> None:
    """Answer with a page for people, as a login or a default backend does."""
    body = b"<html><body>Welcome</body></html>"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def passing(
    cluster: Cluster,
    *,
    without: str = "\0",
    date: str | None = None,
    version: bytes | None = None,
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return a handler that passes on to the API server.

    ``without`` is how the names of those headers begin that it loses, ``date`` what it says of the
    time, ``version`` what stands for the version in answers.
    """
    tls = ssl.create_default_context(cafile=str(cluster.ca_file))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPSConnection("127.0.0.1", cluster.port, context=tls)
        upstream.putrequest(handler.command, handler.path, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            if not name.lower().startswith((without, "host")):
                upstream.putheader(name, value)
        upstream.endheaders(body)
        response = upstream.getresponse()
        content = response.read()
        if version is not None and handler.path == "/version":
            content = content.replace(b"v1.36.3", version)
        handler.send_response_only(response.status)
        handler.send_header("Date", date or handler.date_time_string())
        handler.send_header("Content-Type", response.headers["Content-Type"])
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        upstream.close()

    return answer
