from __future__ import annotations

import asyncio
import datetime
import json
import os
from pathlib import Path

import pytest
import trustme

from proxy.credentials import exec_plugin
from proxy.credentials.credential import readiness
from proxy.credentials.exec_plugin import ExecCredential
from proxy.credentials.exec_protocol import ExecConfig
from proxy.errors import CredentialUnavailable
from proxy.files import GivenData
from tests.credentials.for_requests import for_requests
from tests.loops import Run, on_both_loops

NOW = 1_800_000_000.0
V1 = "client.authentication.k8s.io/v1"


class Plugin:
    """A credential plugin that is a shell script; each run adds a line to ``runs``."""

    def __init__(self, directory: Path) -> None:
        self.script, self.log = directory / "plugin", directory / "runs"
        self.answer_file = directory / "answer"
        self.log.touch()
        self.does("cat " + str(self.answer_file))

    def does(self, body: str) -> None:
        self.script.write_text(f'#!/bin/sh\necho "$$ $*" >> {self.log}\n{body}\n')
        self.script.chmod(0o755)

    def gives(self, *, lives: float | None = None, **status: str) -> None:
        if lives is not None:
            end = datetime.datetime.fromtimestamp(NOW + lives, datetime.UTC)
            status["expirationTimestamp"] = end.isoformat().replace("+00:00", "Z")
        document = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
        self.answer_file.write_text(json.dumps(document))

    @property
    def runs(self) -> list[str]:
        return self.log.read_text().splitlines()

    def credential(self, *args: str, **env: str) -> ExecCredential:
        return ExecCredential(ExecConfig(V1, str(self.script), args, env), None)


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


async def header(credential: ExecCredential, now: float = NOW) -> bytes | None:
    """Do what a request does."""
    line = for_requests(credential).header(now)
    if line is None:
        await credential.renew()
        line = for_requests(credential).header(now)
    return line


async def held(plugin: Plugin, token: str, lives: float | None = None) -> ExecCredential:
    """Return a credential that the plugin has given for the first time, at NOW."""
    plugin.gives(token=token, lives=lives)
    credential = plugin.credential()
    await header(credential)
    return credential


async def refused(credential: ExecCredential, now: float = NOW) -> str:
    with pytest.raises(CredentialUnavailable) as raised:
        await header(credential, now)
    return raised.value.detail


@on_both_loops
def test_the_first_request_waits_for_the_plugin_and_the_next_does_not(
    plugin: Plugin, run: Run
) -> None:
    async def check() -> None:
        plugin.gives(token="abc", lives=900)
        credential = plugin.credential("get-token", "--cluster", "a b")
        assert for_requests(credential).header(NOW) is None
        await credential.renew()
        assert for_requests(credential).header(NOW) == b"Authorization: Bearer abc\r\n"
        assert for_requests(credential).header(NOW + 800) == b"Authorization: Bearer abc\r\n"
        assert credential.expires_at == NOW + 900
        assert [entry.split(" ", 1)[1] for entry in plugin.runs] == ["get-token --cluster a b"]

    run(check())


async def test_a_plugin_gets_our_environment_its_own_and_what_it_is_asked_for(
    plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_US", "ours")
    monkeypatch.setenv("BOTH", "ours")
    plugin.does(f"env > {tmp_path}/env; cat > {tmp_path}/stdin; cat {plugin.answer_file}")
    plugin.gives(token="abc")
    config = ExecConfig(
        V1, str(plugin.script), env={"BOTH": "its own"}, cluster={"server": "https://api"}
    )
    credential = ExecCredential(config, GivenData("ca", trustme.CA().cert_pem.bytes()))
    assert await header(credential)
    environment = dict(
        line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line
    )
    info = json.loads(environment["KUBERNETES_EXEC_INFO"])
    assert (environment["FROM_US"], environment["BOTH"]) == ("ours", "its own")
    assert info["spec"]["cluster"]["server"] == "https://api"
    assert info["spec"]["cluster"]["certificate-authority-data"]
    assert (tmp_path / "stdin").read_bytes() == b""


async def test_many_requests_at_once_are_one_run(plugin: Plugin) -> None:
    plugin.gives(token="abc")
    credential = plugin.credential()
    lines = await asyncio.gather(*(header(credential) for _ in range(20)))
    assert set(lines) == {b"Authorization: Bearer abc\r\n"}
    assert len(plugin.runs) == 1


async def test_a_request_that_is_given_up_does_not_end_the_run_of_the_others(
    plugin: Plugin, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    plugin.does(f"read line < {tmp_path}/go; cat {plugin.answer_file}")
    plugin.gives(token="abc")
    credential = plugin.credential()
    first = asyncio.create_task(header(credential))
    second = asyncio.create_task(header(credential))
    await asyncio.to_thread((tmp_path / "go").write_text, "go\n")
    first.cancel()
    assert await second == b"Authorization: Bearer abc\r\n"
    assert len(plugin.runs) == 1


@pytest.mark.parametrize(
    ("lives", "due"), [(900, 840), (100, 90)], ids=["a minute before", "a tenth before"]
)
async def test_a_credential_is_renewed_shortly_before_its_end(
    plugin: Plugin, lives: float, due: float
) -> None:
    credential = await held(plugin, token="one", lives=lives)
    assert for_requests(credential).header(NOW + due - 0.5) == b"Authorization: Bearer one\r\n"
    plugin.gives(token="two", lives=2 * lives)
    assert for_requests(credential).header(NOW + due) is None
    assert await header(credential, NOW + due) == b"Authorization: Bearer two\r\n"


async def test_while_one_request_renews_the_others_go_on_with_what_is_held(
    plugin: Plugin,
) -> None:
    credential = await held(plugin, token="one", lives=900)
    assert for_requests(credential).header(NOW + 850) is None
    renewal = asyncio.create_task(credential.renew())
    await asyncio.sleep(0)
    assert for_requests(credential).header(NOW + 850) == b"Authorization: Bearer one\r\n"
    await renewal


async def test_while_what_is_held_is_not_accepted_all_requests_wait_for_the_plugin(
    plugin: Plugin,
) -> None:
    credential = await held(plugin, token="one", lives=900)
    credential.reread()
    assert for_requests(credential).header(NOW + 10) is None
    renewal = asyncio.create_task(credential.renew())
    await asyncio.sleep(0)
    assert for_requests(credential).header(NOW + 10) is None
    await renewal


async def test_a_renewal_that_fails_uses_up_what_is_held(plugin: Plugin) -> None:
    credential = await held(plugin, token="one", lives=900)
    plugin.does("echo out of order >&2; exit 3")
    assert await header(credential, NOW + 850) == b"Authorization: Bearer one\r\n"
    assert await readiness(credential, NOW + 860) is None
    detail = await refused(credential, NOW + 900)
    assert detail == f"the plugin {plugin.script} ended with status 3: out of order"


async def test_a_plugin_that_fails_is_not_run_again_for_five_seconds(plugin: Plugin) -> None:
    plugin.does("exit 1")
    credential = plugin.credential()
    first = await refused(credential)
    assert await refused(credential, NOW + 4.9) == first
    assert len(plugin.runs) == 1
    plugin.does("cat " + str(plugin.answer_file))
    plugin.gives(token="abc")
    assert await header(credential, NOW + 5) == b"Authorization: Bearer abc\r\n"


async def test_without_an_end_a_credential_is_kept_until_it_is_not_accepted(
    plugin: Plugin,
) -> None:
    credential = await held(plugin, token="one")
    assert credential.expires_at is None
    assert for_requests(credential).header(NOW + 1e6) == b"Authorization: Bearer one\r\n"
    plugin.gives(token="two")
    credential.reread()
    assert await header(credential, NOW + 1e6) == b"Authorization: Bearer two\r\n"


async def test_an_api_server_that_accepts_nothing_does_not_start_a_plugin_per_request(
    plugin: Plugin,
) -> None:
    plugin.gives(token="one")
    credential = plugin.credential()
    for tenth in range(100):
        assert await header(credential, NOW + tenth / 10)
        credential.reread()
    assert len(plugin.runs) == 2


async def test_what_was_not_accepted_is_sent_only_until_the_plugin_may_be_asked(
    plugin: Plugin,
) -> None:
    credential = await held(plugin, token="one")
    credential.reread()
    assert for_requests(credential).header(NOW + 4.8) == b"Authorization: Bearer one\r\n"
    assert for_requests(credential).header(NOW + 5) is None


async def test_a_client_certificate_from_a_plugin_makes_another_context(plugin: Plugin) -> None:
    authority = trustme.CA()

    def pair() -> dict[str, str]:
        leaf = authority.issue_cert("proxy@example.org")
        return {
            "clientCertificateData": leaf.cert_chain_pems[0].bytes().decode(),
            "clientKeyData": leaf.private_key_pem.bytes().decode(),
        }

    plugin.gives(**pair(), lives=900)
    credential = plugin.credential()
    assert await header(credential) == b""
    first = credential.ssl_context()
    plugin.gives(**pair(), lives=1800)
    assert await header(credential, NOW + 839.9) == b""  # so the last look is a moment ago
    assert credential.tls is first
    assert await header(credential, NOW + 840) == b""
    assert credential.tls is credential.ssl_context() is not first


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"token": "a b"}, "gave a token that holds blanks"),
        ({"clientCertificateData": "c", "clientKeyData": "k"}, "a key that make no pair"),
    ],
)
async def test_a_credential_that_cannot_be_used_is_refused(
    plugin: Plugin, status: dict[str, str], why: str
) -> None:
    plugin.gives(lives=None, **status)
    assert why in await refused(plugin.credential())


async def test_a_credential_that_has_expired_already_is_refused(plugin: Plugin) -> None:
    plugin.gives(token="abc", lives=-1)
    assert "gave an expired credential" in await refused(plugin.credential())


async def test_a_plugin_that_is_not_there_is_an_error_that_names_it() -> None:
    credential = ExecCredential(ExecConfig(V1, "/no/such/plugin"), None)
    detail = await refused(credential)
    assert detail == (
        "the plugin /no/such/plugin cannot be started: there is no such file or directory"
    )


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@on_both_loops
def test_a_plugin_that_hangs_is_ended_with_what_it_started(
    plugin: Plugin, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_plugin, "TIMEOUT", 0.5)
    plugin.does(f"sleep 600 & echo $! > {tmp_path}/child; wait")

    async def check() -> None:
        assert "did not end within" in await refused(plugin.credential())

    run(check())
    assert gone(int(plugin.runs[0].split()[0]))
    assert gone(int((tmp_path / "child").read_text()))


async def test_a_plugin_that_writes_without_end_is_refused(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin.does("head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2")
    detail = await refused(plugin.credential())
    assert detail.endswith("wrote more than 1048576 bytes")


@on_both_loops
def test_a_shutdown_ends_a_plugin_that_is_running(plugin: Plugin, tmp_path: Path, run: Run) -> None:
    os.mkfifo(tmp_path / "started")
    plugin.does(f"echo > {tmp_path}/started; sleep 600")
    tasks: list[asyncio.Task[None]] = []

    async def check() -> None:
        tasks.append(asyncio.create_task(plugin.credential().renew()))
        await asyncio.to_thread((tmp_path / "started").read_bytes)
        for _ in range(20):  # Python 3.11's asyncio hangs if a start is cancelled half-way
            await asyncio.sleep(0)

    run(check())
    assert gone(int(plugin.runs[0].split()[0]))


async def test_readiness_runs_a_plugin_that_is_due(plugin: Plugin) -> None:
    plugin.gives(token="abc", lives=900)
    credential = plugin.credential()
    assert credential.problem(NOW) == "it is due to be renewed"
    assert await readiness(credential, NOW) is None
    assert len(plugin.runs) == 1


async def test_readiness_says_why_a_plugin_failed(plugin: Plugin) -> None:
    plugin.does("exit 1")
    problem = await readiness(plugin.credential(), NOW)
    assert problem == f"the plugin {plugin.script} ended with status 1: it said nothing"
