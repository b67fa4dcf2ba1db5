"""The one style sheet of the page, which the policy lets in by its hash; calm, dark and light.

Every colour stands on its background with a contrast of at least 4.5 to 1 (WCAG AA), in both
schemes; a test computes it. Nothing is told by colour alone.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Final

LIGHT: Final = {
    "ink": "#1c2430",
    "soft": "#576072",
    "paper": "#f6f7f9",
    "card": "#ffffff",
    "line": "#d9dee6",
    "well": "#f1f3f7",
    "link": "#1f56b3",
    "good": "#17693f",
    "good-card": "#eef8f2",
    "bad": "#a3262c",
    "bad-card": "#fdf2f2",
    "wait": "#7d5100",
    "wait-card": "#fdf6e7",
}
DARK: Final = {
    "ink": "#e6eaf1",
    "soft": "#9da8b8",
    "paper": "#10141b",
    "card": "#181e27",
    "line": "#2c3543",
    "well": "#111720",
    "link": "#8ab8ff",
    "good": "#6fd3a0",
    "good-card": "#14261e",
    "bad": "#ff9d9d",
    "bad-card": "#2a1a1d",
    "wait": "#f0c26b",
    "wait-card": "#282113",
}


def _colours(scheme: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in scheme.items())


STYLE: Final = f"""
:root {{ color-scheme: light dark; {_colours(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_colours(DARK)} }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere; -webkit-text-size-adjust: 100%; }}
main, header, footer {{ max-width: 46rem; margin: 0 auto; padding: 0 1.25rem; }}
header {{ padding-top: 2rem; color: var(--soft); font-size: .875rem; letter-spacing: .01em; }}
footer {{ padding: .5rem 1.25rem 3rem; color: var(--soft); font-size: .875rem; }}
section, details.all {{ background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; padding: 1.25rem 1.5rem; margin: 1rem 0; }}
h1 {{ font-size: 1.625rem; line-height: 1.25; letter-spacing: -.01em; margin: 0; }}
h2 {{ font-size: 1.0625rem; line-height: 1.3; margin: 0 0 .75rem; }}
h3 {{ font-size: .9375rem; margin: 1.25rem 0 .25rem; }}
p {{ margin: .5rem 0; }}
.verdict {{ border-left: .375rem solid; padding: 1.5rem 1.75rem; }}
.verdict .who {{ font-size: 1.125rem; margin: .35rem 0 0; }}
.good {{ border-left-color: var(--good); background: var(--good-card); }}
.bad {{ border-left-color: var(--bad); background: var(--bad-card); }}
.wait {{ border-left-color: var(--wait); background: var(--wait-card); }}
.good h1 {{ color: var(--good); }} .bad h1 {{ color: var(--bad); }}
.wait h1 {{ color: var(--wait); }}
.soft {{ color: var(--soft); }}
dl {{ display: grid; grid-template-columns: 9rem 1fr; gap: .4rem 1rem; margin: 0; }}
dt {{ color: var(--soft); }} dd {{ margin: 0; }}
table {{ width: 100%; border-collapse: collapse; margin: 1rem 0 0; }}
caption {{ text-align: left; color: var(--soft); padding-bottom: .25rem; }}
th, td {{ text-align: left; vertical-align: top; padding: .45rem .75rem .45rem 0;
  border-top: 1px solid var(--line); }}
th {{ font-weight: 600; font-size: .875rem; color: var(--soft); border-top: 0;
  overflow-wrap: normal; }}
ul, ol {{ margin: .25rem 0 0; padding-left: 1.25rem; }} li {{ margin: .3rem 0; }}
code, pre {{ font: .875rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
  monospace; }}
code {{ unicode-bidi: isolate; }}
pre {{ background: var(--well); border: 1px solid var(--line); border-radius: .5rem;
  color: var(--ink); padding: .75rem 1rem; margin: .5rem 0 0; white-space: pre-wrap;
  unicode-bidi: isolate; }}
summary {{ cursor: pointer; }} details.all > summary {{ font-weight: 600; }}
details {{ margin-top: .35rem; }}
a, summary:hover {{ color: var(--link); }}
:focus-visible {{ outline: 3px solid var(--link); outline-offset: 2px; border-radius: .25rem; }}
form {{ display: flex; flex-wrap: wrap; gap: .5rem .75rem; align-items: center; margin-top: 1rem; }}
input, button {{ font: inherit; color: var(--ink); background: var(--card);
  border: 1px solid var(--soft); border-radius: .5rem; padding: .35rem .75rem; }}
input {{ width: 14rem; max-width: 100%; }} button {{ cursor: pointer; }}
@media (max-width: 34rem) {{
  main, header, footer {{ padding-left: .75rem; padding-right: .75rem; }}
  header {{ padding-top: 1rem; }}
  section, details.all {{ padding: 1rem; }} .verdict {{ padding: 1.25rem; }}
  h1 {{ font-size: 1.375rem; }}
  dl {{ grid-template-columns: 1fr; gap: 0; }} dd {{ margin-bottom: .6rem; }}
}}
"""

STYLE_HASH: Final = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
