"""Fuzz targets for what passes through a tunnel: anything at all, and it is only looked at.

What is read must be the same in one piece and in many, and only ``Unreadable`` may come of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proxy.sessions.allowance import Unreadable
from proxy.sessions.channels import ChannelReader
from proxy.sessions.facts import exit_status
from proxy.sessions.protocols import terminal_size
from proxy.sessions.spdy import Data, SpdyReader
from proxy.tools.audit.terminal import Screen

Event = tuple[int, bytes | str]
Feed = Callable[[bytes], Iterator[Event]]


def session_websocket(data: bytes) -> None:
    """The first byte says which direction, whether it is base64, and how it is cut."""
    how, stream = data[:1], data[1:]
    masked, base64 = bool(how > b"\x7f"), bool(how and how[0] & 1)

    def reader() -> Feed:
        channels = ChannelReader(frozenset(range(256)), masked=masked, base64=base64)
        return lambda part: channels.feed(part, 0.0)

    _same(reader, stream, (how[0] & 0x7F) // 2 + 1 if how else 1)


def session_spdy(data: bytes) -> None:
    """The first byte says how it is cut."""
    how, stream = data[:1], data[1:]

    def reader() -> Feed:
        spdy = SpdyReader({1, 3}, headers=True)

        def feed(part: bytes) -> Iterator[Event]:
            for event in spdy.feed(part, 0.0):
                if isinstance(event, Data):
                    yield event.stream, event.content
                else:
                    yield event.stream, str(event.headers)

        return feed

    _same(reader, stream, how[0] % 64 + 1 if how else 1)


def session_status(data: bytes) -> None:
    """What comes on the channels that are read as JSON."""
    assert exit_status(data) in {"failed", "unknown"} or isinstance(exit_status(data), int)
    size = terminal_size(data)
    assert size is None or all(0 < cells <= 10_000 for cells in size)


def recorded_output(data: bytes) -> None:
    """What a recording may say to the terminal of whoever plays it."""
    text = data.decode("utf-8", "surrogateescape")
    screen = Screen()
    out = "".join(screen.shown(part) for part in (text[:7], text[7:]))
    assert "\x1b]" not in out
    assert "\x1b[6n" not in out
    assert not {"\x9b", "\x9d", "\x90", "\x05"} & set(out)


def _same(reader: Callable[[], Feed], stream: bytes, size: int) -> None:
    """Compare what is read in one piece with what is read in pieces of ``size`` bytes.

    Of what turns out unreadable, pieces may bring more.
    """
    parts = [stream[at : at + size] for at in range(0, len(stream), size)]
    whole, cut = _read(reader(), [stream]), _read(reader(), parts)
    assert cut[: len(whole) - 1] == whole[:-1]
    if whole:
        (of, most), (same, more) = whole[-1], cut[len(whole) - 1]
        assert (of, most) == (same, more[: len(most)])


def _read(feed: Feed, parts: list[bytes]) -> list[Event]:
    """Return what was read, the parts of the same stream or channel joined, up to an error."""
    read: list[Event] = []
    for stream, content in _until_unreadable(feed, parts):
        if read and read[-1][0] == stream and isinstance(content, bytes):
            before = read[-1][1]
            if isinstance(before, bytes):
                read[-1] = (stream, before + content)
                continue
        if content:
            read.append((stream, content))
    return read


def _until_unreadable(feed: Feed, parts: list[bytes]) -> Iterator[Event]:
    for part in parts:
        try:
            yield from feed(part)
        except Unreadable:
            return
