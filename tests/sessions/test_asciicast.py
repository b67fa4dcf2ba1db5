"""The lines of a recording."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from proxy.sessions.asciicast import Encoder


def lines(*parts: bytes) -> list[object]:
    return [json.loads(line) for line in b"".join(parts).splitlines()]


def encoder() -> Encoder:
    return Encoder(1_800_000_000.9, "alice: a/web", ["sh", "-c", "a b"], {"user": "alice"})


def test_the_header_has_the_identity_and_comes_first() -> None:
    made = encoder()
    header, first, last = lines(made.output(1, b"hi", 0.5), made.end("exit status 0", 1.25))
    assert header == {
        "version": 2,
        "width": 80,
        "height": 24,
        "timestamp": 1_800_000_000,
        "title": "alice: a/web",
        "command": "sh -c 'a b'",
        "env": {"TERM": "xterm-256color"},
        "headlamp-auth-proxy": {"user": "alice"},
    }
    assert first == [0.5, "o", "hi"]
    assert last == [1.25, "m", "exit status 0"]


def test_a_size_before_all_output_is_the_size_to_begin_with() -> None:
    made = encoder()
    header, *events = lines(
        made.resize(132, 50, 0.1), made.output(1, b"a", 0.2), made.resize(80, 25, 0.3)
    )
    assert isinstance(header, dict)
    assert (header["width"], header["height"]) == (132, 50)
    assert events == [[0.2, "o", "a"], [0.3, "r", "80x25"]]


def test_a_character_that_comes_in_parts_is_whole_and_each_stream_has_its_own() -> None:
    made, euro = encoder(), "€".encode()
    parts = [
        made.output(1, euro[:1], 0.1),
        made.output(2, b"!", 0.2),
        made.output(1, euro[1:2], 0.3),
        made.output(1, euro[2:] + b"\xff", 0.4),
        made.output(1, euro[:2], 0.5),
        made.end("", 0.6),
    ]
    assert lines(*parts)[1:] == [
        [0.2, "o", "!"],
        [0.4, "o", "€\ufffd"],
        [0.6, "o", "\ufffd"],
        [0.6, "m", ""],
    ]


def test_no_byte_of_a_terminal_can_make_a_line_of_its_own() -> None:
    made = encoder()
    written = made.output(1, b'\r\n\x1b[2J"\x00\xe2\x80\xa8]\n[9,"o","forged"]\n', 0.1)
    assert len(lines(written)) == 2


def test_asciinema_itself_plays_it(tmp_path: Path) -> None:
    made = encoder()
    path = tmp_path / "a.cast"
    path.write_bytes(
        made.resize(100, 30, 0.0)
        + made.output(1, b"hello\r\n", 0.1)
        + made.resize(80, 25, 0.2)
        + made.output(1, "grüße".encode(), 0.3)
        + made.end("exit status 0", 0.4)
    )
    program = Path(sys.executable).with_name("asciinema")
    environment = {"LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    played = subprocess.run(
        [program, "cat", path], env=environment, stdout=subprocess.PIPE, check=True
    )
    assert played.stdout.decode() == "hello\r\ngrüße"
