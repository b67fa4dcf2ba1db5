"""Sessions read from both directions at once: output and sizes, exit codes, ports."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sessions.allowance import Unreadable
from proxy.sessions.channels import CHANNEL_PROTOCOLS, ERROR, RESIZE, STDERR, STDIN, STDOUT
from proxy.sessions.facts import Facts
from proxy.sessions.protocols import Channels, Streams, terminal_size
from tests.sessions.frames import SpdyWriter, data, message, status, websocket


@dataclass
class Shown:
    """A screen that remembers."""

    text: dict[int, bytes] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def output(self, channel: int, data: bytes, at: float) -> None:
        self.text[channel] = self.text.get(channel, b"") + data

    def resize(self, columns: int, rows: int, at: float) -> None:
        self.sizes.append((columns, rows))


def cut(stream: bytes, draw: st.DataObject) -> list[bytes]:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)))))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def channels(protocol: str, screen: Shown | None) -> tuple[Channels, Facts]:
    facts = Facts("exec", exit_status="unknown")
    return Channels(facts, screen, protocol, base64=CHANNEL_PROTOCOLS[protocol]), facts


@given(st.data())
def test_a_terminal_is_the_same_however_its_bytes_are_cut(draw: st.DataObject) -> None:
    shown = Shown()
    reader, facts = channels("v4.channel.k8s.io", shown)
    down = (
        message(STDOUT, b"")
        + message(STDOUT, "grüße\n".encode() * 100)
        + message(STDERR, b"oh")
        + message(99, b"what?")
        + message(ERROR, status(3)[:10])
        + message(ERROR, status(3)[10:])
    )
    up = (
        message(RESIZE, b'{"Width":80,"Height":24}', masked=True)
        + message(STDIN, b"a password", masked=True)
        + message(RESIZE, b'{"Width":132,"Height"', masked=True)
        + message(RESIZE, b":50}\n", masked=True)
        + websocket(b"\xff\x00", masked=True)  # v5: the end of the input
    )
    for part in cut(down, draw):
        reader.upstream_data(part, 0.0)
    for part in cut(up, draw):
        reader.client_data(part, 0.0)
    reader.ended()
    assert shown.text == {STDOUT: "grüße\n".encode() * 100, STDERR: b"oh"}
    assert shown.sizes == [(80, 24), (132, 50)]
    assert facts.exit_status == 3


@given(st.data())
def test_base64(draw: st.DataObject) -> None:
    shown = Shown()
    reader, facts = channels("v4.base64.channel.k8s.io", shown)
    down = b"".join(
        websocket(b"%d" % channel + base64.b64encode(content), opcode=1)
        for channel, content in [(STDOUT, b"one"), (STDOUT, b"four"), (ERROR, status(0))]
    )
    for part in cut(down, draw):
        reader.upstream_data(part, 0.0)
    reader.ended()
    assert shown.text == {STDOUT: b"onefour"}
    assert facts.exit_status == 0


@pytest.mark.parametrize("protocol", ["", "channel.k8s.io"])
def test_before_v4_nobody_says_how_it_ended(protocol: str) -> None:
    reader, facts = channels(protocol, None)
    reader.upstream_data(message(ERROR, status(0)), 0.0)
    reader.ended()
    assert facts.exit_status == "unknown"


def test_output_that_looks_like_a_status_is_none() -> None:
    reader, facts = channels("v5.channel.k8s.io", None)
    reader.upstream_data(message(STDOUT, status(0)), 0.0)
    reader.ended()
    assert facts.exit_status == "unknown"


def test_a_status_without_an_end_is_not_kept() -> None:
    reader, facts = channels("v5.channel.k8s.io", None)
    for _ in range(100):
        reader.upstream_data(message(ERROR, b" " * 8000), 0.0)
    reader.upstream_data(message(ERROR, status(0)), 0.0)
    reader.ended()
    assert facts.exit_status == "unknown"


@pytest.mark.parametrize(
    ("document", "size"),
    [
        (b'{"Width":132,"Height":50}', (132, 50)),
        (b'{"height":50,"width":132}', (132, 50)),
        (b'{"Width":0,"Height":0}', None),
        (b'{"Width":1e9,"Height":50}', None),
        (b'{"Width":true,"Height":true}', None),
        (b'{"Width":99999999,"Height":50}', None),
        (b"[]", None),
        (b"\x1b[31m}", None),
    ],
)
def test_the_size_of_a_terminal(document: bytes, size: object) -> None:
    assert terminal_size(document) == size


@given(st.data())
def test_an_exit_code_over_spdy_is_read_from_the_stream_that_is_for_it(draw: st.DataObject) -> None:
    facts = Facts("exec", exit_status="unknown")
    reader = Streams(facts, "v4.channel.k8s.io", in_websocket=False)
    writer = SpdyWriter()
    up = writer.syn_stream(1, {"streamtype": "stdout"}) + writer.syn_stream(
        3, {"streamtype": "error"}
    )
    for part in cut(up, draw):
        reader.client_data(part, 0.0)
    down = SpdyWriter().syn_reply(1) + data(1, status(0)) + data(3, status(137), fin=True)
    for part in cut(down, draw):
        reader.upstream_data(part, 0.0)
    reader.ended()
    assert facts.exit_status == 137


@given(st.data())
def test_the_ports_of_a_port_forward_inside_a_websocket(draw: st.DataObject) -> None:
    facts = Facts("portforward")
    reader = Streams(facts, "SPDY/3.1+portforward.k8s.io", in_websocket=True)
    writer, up = SpdyWriter(), b""
    for stream, port in [(1, "8080"), (5, "8080"), (9, "443"), (13, "no port")]:
        for number, kind in enumerate(["error", "data"]):
            headers = {"streamtype": kind, "port": port, "requestid": "0"}
            up += websocket(writer.syn_stream(stream + 2 * number, headers), masked=True)
        up += websocket(data(stream + 2, b"secret" * 100), masked=True)
    for part in cut(up, draw):
        reader.client_data(part, 0.0)
    reader.upstream_data(b"whatever", 0.0)
    reader.ended()
    assert (facts.ports, facts.exit_status) == ((8080, 443), None)


@pytest.mark.parametrize("nonsense", [b"}", b"[[[[[}"])
def test_more_sizes_than_any_terminal_has_are_not_read(nonsense: bytes) -> None:
    """Each is JSON to be parsed, and a frame holds hundreds of them."""
    shown = Shown()
    reader, _ = channels("v5.channel.k8s.io", shown)
    frame = message(RESIZE, nonsense * (900 // len(nonsense)), masked=True)
    with pytest.raises(Unreadable, match="more frames"):
        reader.client_data(frame * 200, 1.0)
    reader.upstream_data(message(STDOUT, b"still shown"), 1.0)
    assert shown.text == {STDOUT: b"still shown"}
