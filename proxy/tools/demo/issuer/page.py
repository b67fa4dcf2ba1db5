"""The page on which one chooses who to be; tsidp has none, because it knows.

Plain HTML that works without scripts, with a keyboard and a screen reader, in light and in dark.
Choices are links and not a form: browsers apply ``form-action`` to redirects too, and the next one
leads to the client. Whatever came with the request is escaped; the policy allows one style sheet
and nothing else.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final
from urllib.parse import urlencode

from proxy.tools.demo.people import Person

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #8c959f; --hot: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #6e7681; --hot: #79c0ff; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.0625rem/1.5 system-ui, sans-serif; }
main { max-width: 30rem; margin: 0 auto; padding: 3rem 1.25rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
ul { list-style: none; margin: 1.5rem 0; padding: 0; }
a { display: block; margin: .6rem 0; padding: .75rem 1rem; border: 1px solid var(--line);
    border-radius: .5rem; color: var(--hot); text-decoration: none; }
a:hover, a:focus-visible { outline: 3px solid var(--hot); outline-offset: 1px; }
a span { display: block; color: var(--ink); font-size: .9375rem; }
"""  # noqa: E501 (one rule a line)

_STYLE_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def sign_in_page(query: Mapping[str, str], people: Iterable[Person]) -> str:
    """Return the page for an authorization request: each choice repeats it with ``user`` added."""
    choices = "\n".join(_choice(query, person) for person in people)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in to the demo</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Who do you want to be?</h1>
<p>tsidp would know you by your device. This demo asks.
You then go back to {escape(query.get("redirect_uri", ""))}</p>
<ul>
{choices}
</ul>
</main>
</body>
</html>
"""


def _choice(query: Mapping[str, str], person: Person) -> str:
    target = escape(f"/authorize?{urlencode({**query, 'user': person.name})}")
    who = person.name if person.tagged else person.email
    return f'<li><a href="{target}">{escape(who)} <span>{escape(person.described)}</span></a></li>'
