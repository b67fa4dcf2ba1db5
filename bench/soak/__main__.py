"""Mixed traffic for an hour, all of it written down, and a verdict: is the proxy still the same?

    make soak                          # SOAK_MINUTES=60
    SOAK_MINUTES=5 SOAK_RATE=100 make soak

An API server that is scripted at its socket (``tests.witness``) answers lists, big bodies, uploads,
watches, tunnels and terminals, and loses its connections now and then; an issuer rotates its keys;
clients come and go, with good and bad and refreshed tokens, politely and not. All of it with real
processes over TLS, and audited (to a file and a webhook), recorded and traced. Samples are taken
every few seconds; the curves are printed, and written as CSV and SVG into ``soak/``. The exit
status is 1 if a curve is not flat, if something is left when the traffic has ended, if any answer
or identity was wrong, if something was not written down, or if a secret was.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import trustme
import uvloop

from bench.soak.judge import drawing
from bench.soak.outlets import FLAGS, Outlets
from bench.soak.traffic import Traffic
from bench.soak.watched import Watched
from tests.crowd import Person
from tests.issuer import FakeIssuer
from tests.serving import Serve, issuer_in_thread
from tests.witness import CREDENTIAL, Ledger, Witness

PEOPLE: Final = 30
ROTATE_EVERY: Final = 120.0  # seconds between two keys of the issuer
SAMPLES: Final = 720  # in a run; not more than one every second
RESULTS: Final = Path("soak")


def main() -> int:
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    rate = float(os.environ.get("SOAK_RATE", "60"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        issuer, _ = stack.enter_context(issuer_in_thread())
        return asyncio.Runner(loop_factory=uvloop.new_event_loop).run(
            _soak(folder, issuer, minutes * 60, rate)
        )


async def _soak(folder: Path, issuer: FakeIssuer, seconds: float, rate: float) -> int:
    ledger = Ledger()
    async with Witness(ledger).run(_tls(folder)) as witness:
        flags = (*_flags(folder, issuer, witness), *FLAGS)
        with Serve(folder, *flags, every_sink=True) as serve:
            serve.wait_ready()
            outlets = Outlets(serve)
            people = [Person(f"user-{n}@example.com", issuer.token) for n in range(PEOPLE)]
            trust = ssl.create_default_context(cafile=str(serve.ca_file))
            traffic = Traffic(ledger, witness, people, serve.port, trust, rate)
            watched = Watched("scripted API server", serve)
            before = await _after_one_request(traffic, watched)
            beside = [
                asyncio.create_task(_sample(watched, outlets, max(1.0, seconds / SAMPLES))),
                asyncio.create_task(_rotate(issuer, traffic)),
            ]
            await traffic.run(seconds)
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            failures = [f"{task.get_name()}: {task.exception()!r}"
                        for task in beside if not task.cancelled()]  # fmt: skip
            remains = await asyncio.to_thread(watched.at_rest, before)
            said = await asyncio.to_thread(outlets.said)
    _say(f"{ledger.heads} heads compared, {sum(traffic.seen.values())} outcomes: "
         f"{dict(traffic.seen.most_common())}", f"written down: {said}")  # fmt: skip
    problems = [*failures, *ledger.violations, *outlets.problems(said)]
    problems += [f"left behind: {what}" for what in remains]
    problems += [f"{c.measure.name} is not flat" for c in watched.curves() if not c.flat]
    _say(*(str(curve) for curve in watched.curves()), *problems)
    _say("FAILED" if problems else "flat, and nothing left behind")
    return 1 if problems else 0


async def _after_one_request(traffic: Traffic, watched: Watched) -> dict[str, float]:
    """Return what there is at rest, once all that is made on first use has been made."""
    await traffic.run(1.0)
    await asyncio.to_thread(watched.at_rest, dict.fromkeys(("descriptors", "tasks"), 1e9))
    return await asyncio.to_thread(watched.look)


async def _sample(watched: Watched, outlets: Outlets, every: float) -> None:
    while True:
        await asyncio.to_thread(watched.sample)
        outlets.forget()
        _write(watched)
        await asyncio.sleep(every)


async def _rotate(issuer: FakeIssuer, traffic: Traffic) -> None:
    """Sign with a new key, still publish the one before, and give everybody another token."""
    while True:
        await asyncio.sleep(ROTATE_EVERY * random.uniform(0.9, 1.1))
        issuer.rotate(keep_old=True)
        issuer.keys = issuer.keys[:2]
        traffic.rotated()


def _tls(folder: Path) -> ssl.SSLContext:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "upstream-ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


def _flags(folder: Path, issuer: FakeIssuer, witness: Witness) -> list[str]:
    (folder / "token").write_text(CREDENTIAL)
    return [
        f"--oidc-issuer-url={issuer.url}",
        f"--oidc-client-id={issuer.client_id}",
        f"--oidc-ca-file={issuer.ca_file}",
        f"--upstream=https://127.0.0.1:{witness.port}",
        f"--upstream-ca-file={folder / 'upstream-ca.crt'}",
        f"--upstream-token-file={folder / 'token'}",
    ]


def _write(watched: Watched) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "curve.csv").write_text(watched.table())
    (RESULTS / "curve.svg").write_text(drawing(watched.curves()))


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
