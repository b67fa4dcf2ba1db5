"""Two thousand open watches in bounded memory.

What happens when memory ends is the kernel's to decide: under a cgroup it kills the process, and
where it refuses memory instead (RLIMIT_AS) the C libraries below do not all survive that. So the
proxy's part is to need little; a killed one comes back as in ``test_stopping``.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import sys
from pathlib import Path

import pytest

from bench.soak.watched import resident
from tests.conftest import Tls
from tests.crowd import Line, Person
from tests.test_identity_mixing import mint, serve_before
from tests.witness import Ledger, Witness

WATCHES = 2000
A_WATCH = 60  # KiB that one may take: two TLS connections and what belongs to them

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 5 * WATCHES,
        reason="too few open files are allowed for both ends (ulimit -n)",
    ),
]


@pytest.fixture(autouse=True)
def _descriptors() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def test_two_thousand_watches_live_on_little_memory(tmp_path: Path, tls: Tls) -> None:
    ledger = Ledger()
    async with Witness(ledger).run(tls.server) as witness:
        with serve_before(tmp_path, witness, tls, "--shutdown-grace=1s") as serve:
            trust = ssl.create_default_context(cafile=str(serve.ca_file))
            people = [Person(f"user-{n}@example.com", mint) for n in range(50)]
            one = await Line.open(ledger, serve.port, trust)
            before = resident(serve.pid)

            async def watch(n: int) -> Line:
                line = await Line.open(ledger, serve.port, trust)
                asked = line.prepare(people[n % 50], "watch", query="&every=5")
                line.send(asked)
                await line.answer()
                await line.event(asked)
                line.asked = asked
                return line

            lines: list[Line] = []
            for start in range(0, WATCHES, 100):
                lines += await asyncio.gather(*map(watch, range(start, start + 100)))
            each = (resident(serve.pid) - before) / WATCHES * 1024
            assert serve.metric('streams_open{kind="watch"}') == WATCHES
            assert each < A_WATCH, f"{each:.0f} KiB for a watch"

            for line in lines:  # each has its own events, and only these
                assert line.asked is not None
                await line.event(line.asked)
            one.send(one.prepare(people[0]))
            assert (await one.answer())[1].status == 200
            for line in [one, *lines]:
                line.abort()
    assert ledger.violations == []
    sys.stdout.write(f"{each:.0f} KiB a watch\n")
