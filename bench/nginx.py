"""nginx, as the upstream that serves files and as the floor: a proxy that only passes bytes on.

As the floor it does what any proxy must, TLS on both sides and kept connections, and nothing of
what this one is for: no token is looked at, no header is changed, nothing is logged.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.process import Process

_START_TIMEOUT = 10.0  # seconds
_CONFIG = """
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.err;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 1h;
  ssl_protocols TLSv1.2 TLSv1.3;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
  server {{
    listen 127.0.0.1:{port} ssl backlog=8192;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    client_max_body_size 0; client_header_buffer_size 8k; large_client_header_buffers 8 64k;
    {server}
  }}
}}
"""
_FILES = """
    sendfile on; tcp_nopush on; root {www};
    location /upload {{
      client_body_buffer_size 2m; proxy_pass http://127.0.0.1:{count_port}/sink;
    }}
"""
_COUNT = """
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 0;
    location / {{ stub_status; }}
    location /sink {{ return 200 taken; }}
  }}
"""
_POOL = """
  upstream upstream {{
    server 127.0.0.1:{port}; keepalive 8192; keepalive_requests 100000000; keepalive_timeout 1h;
  }}
  map $http_upgrade $hop {{ default upgrade; "" ""; }}
"""
_PASS = """
    proxy_http_version 1.1; proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_read_timeout 1h;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $hop;
    proxy_max_temp_file_size 0; proxy_request_buffering off;
    location / { proxy_pass https://upstream; }
    location /watch { proxy_pass https://upstream; proxy_buffering off; }
"""


def program() -> str | None:
    """Return where nginx is; Debian keeps it where only root looks."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def files(folder: Path, port: int, count_port: int, certificate: Path, www: Path) -> Iterator[int]:
    """Serve ``www`` over TLS, and on ``count_port`` how many requests there were."""
    server, http = _FILES.format(www=www, count_port=count_port), _COUNT.format(port=count_port)
    with _running(folder, "upstream", port, certificate, server, http) as worker:
        yield worker


@contextmanager
def passing(folder: Path, port: int, certificate: Path, upstream: int) -> Iterator[int]:
    """Pass bytes on to a port; yield the process id of the one worker."""
    http = _POOL.format(port=upstream)
    with _running(folder, "passing", port, certificate, _PASS, http) as worker:
        yield worker


@contextmanager
def _running(
    folder: Path, name: str, port: int, certificate: Path, server: str, http: str
) -> Iterator[int]:
    config = folder / f"{name}.conf"
    config.write_text(
        _CONFIG.format(
            folder=folder, name=name, port=port, server=server, http=http,
            certificate=certificate, key=certificate.with_suffix(".key"),
        )
    )  # fmt: skip
    found = program()
    if found is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx-light")
    process = Process([found, "-c", str(config)], folder / f"{name}.log")
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        process.wait_until(lambda: bool(children.read_text().split()), "working", _START_TIMEOUT)
        yield int(children.read_text().split()[0])
    finally:
        process.stop(5)
