"""Takes pictures of the whoami page in a real Chromium, on a real API server, behind Headlamp.

python -m tests.real.pictures             # those of the documentation, into docs/images/
python -m tests.real.pictures FOLDER      # every state, wide and narrow, light and dark
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.real.chromium import PHONE, SCHEMES, WIDE, Chromium, Scheme, chromium
from tests.real.cluster import Cluster
from tests.real.programs import find
from tests.real.whoami_stage import Stage, scenes, staged

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DOCUMENTED: Sequence[tuple[str, Scheme, str]] = (
    ("let-in", "light", "whoami.png"),
    ("wrong-audience", "dark", "whoami-refused.png"),
)


def main() -> int:
    assets = find("kube")
    if assets is None or find("headlamp") is None:
        sys.stderr.write("no kube-apiserver or stand-in of Headlamp: run tests/build\n")
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cluster").mkdir()
        (folder / "proxy").mkdir()
        with (
            Cluster.run(assets, folder / "cluster") as cluster,
            staged(cluster, folder / "proxy", "pictures") as stage,
            chromium() as browser,
        ):
            stage.refuse_alice_something()
            if sys.argv[1:]:
                _every_state(stage, browser, Path(sys.argv[1]))
            else:
                for scene, scheme, file in DOCUMENTED:
                    _take(stage, browser, scene, scheme, WIDE, IMAGES / file)
    return 0


def _every_state(stage: Stage, browser: Chromium, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scene, scheme, width in itertools.product(scenes(), SCHEMES, (WIDE, PHONE)):
        shape = "phone" if width == PHONE else "wide"
        _take(stage, browser, scene, scheme, width, folder / f"{scene}-{scheme}-{shape}.png")


def _take(
    stage: Stage, browser: Chromium, scene: str, scheme: Scheme, width: int, file: Path
) -> None:
    browser.sign_in(stage.headlamp.url, scenes()[scene])
    browser.look(scheme=scheme, width=width)
    browser.open(stage.url)
    browser.one("h1")
    file.write_bytes(browser.picture())
    sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    sys.exit(main())
