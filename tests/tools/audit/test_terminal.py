"""What reaches a reader's terminal: nothing that it would obey beyond drawing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tools.audit.terminal import Screen, visible


def shown(*parts: str) -> str:
    screen = Screen()
    return "".join(screen.shown(part) for part in parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alice@example.com", "alice@example.com"),
        ("zoë", "zoë"),
        ("a\x1b[2Jb\nc\td", "a\\x1b[2Jb\\nc\\td"),
        ("a\x9b31mb\x7f", "a\\x9b31mb\\x7f"),
        ("abc\u202edef\u200b", "abc\\u202edef\\u200b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_names_are_made_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "plain\r\n\ttext\x08\x07 ünïcödé €",
        "\x1b[1;31mred\x1b[0m",
        "\x1b[2J\x1b[H\x1b[10;20Hthere",
        "\x1b[?1049h\x1b[?25l\x1b[?25h",
        "\x1b[38;2;1;2;3m",
        "\x1b(0lqk\x1b(B",
        "\x1b7\x1b8\x1bM\x1b=",
    ],
)
def test_what_draws_passes(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]0;title\x07",
        "\x1b]52;c;cm0gLXJmIC8=\x1b\\",
        "\x1b]8;;https://example.com\x1b\\",
        "\x1bP$qm\x1b\\",
        "\x1b_Gpayload\x1b\\",
        "\x1b^private\x1b\\",
        "\x1bXstring\x1b\\",
        "\x1b[6n",  # where is the cursor?
        "\x1b[c",  # who are you?
        "\x1b[>c",
        "\x1b[>q",
        "\x1b[?u",
        "\x1b[21t",  # what is your title?
        "\x1b[8;1;1t",
        "\x1b[?2026$p",
        "\x1bZ",
        "\x1bc",
        "\x05",  # answerback
        "\x9b",  # CSI in one character
        "\x1b[?1m",
        "\x1b[1$u",
        "\x1b[11",  # never ends
        "\x1b]never ends",
    ],
)
def test_what_asks_or_commands_is_left_out(text: str) -> None:
    assert shown(text) == ""


def test_what_is_left_out_takes_nothing_with_it() -> None:
    assert shown("a\x1b]0;title\x07b\x1b[6nc\x1b]2;x\x1b[31md") == "abc\x1b[31md"


@given(
    st.lists(
        st.sampled_from(
            ["a", "\x1b", "[", "]", "6", "n", "m", ";", "\x07", "\\", "P", "?", " ", "c", "(", "0"]
        )
    ),
    st.data(),
)
def test_it_is_the_same_however_it_is_cut(characters: list[str], draw: st.DataObject) -> None:
    text = "".join(characters)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(text)))))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert shown(*parts) == shown(text) == shown(*text)


@given(st.text())
def test_no_answer_can_be_asked_for(text: str) -> None:
    out = shown(text)
    assert "\x1b]" not in out
    assert not {"\x9b", "\x9d", "\x90", "\x05"} & set(out)
