"""doctor on the real things: a genuine tsidp, a kube-apiserver, the proxy, Headlamp's stand-in.

tsidp is of the older generation; what the newer one does otherwise is in tests/tools/doctor. Where
no device says who it is, tailscaled is asked about an address that is empty: it is the device that
doctor itself runs on.
"""

# ruff: noqa: E501 (a row is one line)

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from tests.process import free_port
from tests.real.cluster import Cluster
from tests.real.headlamp import Headlamp, SignIn, callback_url
from tests.real.headlamp_stage import DORA, Stage, groups, staged
from tests.real.tailnet import Client
from tests.serving import Serve

HERE = DORA


@dataclass
class Doctor:
    """Runs the command against a stage, with changes of its flags."""

    stage: Stage
    client: Client
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str, **changes: str | None) -> dict[int, dict[str, Any]]:
        secret = self.folder / "secret"
        if not secret.exists():
            secret.write_text(self.client.secret)
        usual = {
            "--oidc-issuer-url": self.stage.tsidp.url,
            "--oidc-client-id": self.client.id,
            "--oidc-ca-file": str(self.stage.tsidp.ca_file),
            "--headlamp-url": self.stage.headlamp.url,
            "--client-secret-file": str(secret),
        }
        named = {"--" + name.replace("_", "-"): value for name, value in changes.items()}
        flags = [f"{f}={v}" for f, v in (usual | named).items() if v is not None]
        self.status = main(["doctor", "-o", "json", *flags, *arguments])
        out, self.err = self.capsys.readouterr()
        return {trust["id"]: trust for trust in json.loads(out)["trusts"]}


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(cluster, tmp_path_factory.mktemp("doctor"), "with-doctor") as stage:
        yield stage


@pytest.fixture
def doctor(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    stage.tsidp.devices[""] = replace(HERE, rules=(groups("dashboard-watchers"),))
    return Doctor(stage, stage.headlamp.client, tmp_path, capsys)


def test_all_is_well_and_a_login_says_who_comes_out(doctor: Doctor) -> None:
    trusts = doctor.run("--login")
    assert [trusts[number]["status"] for number in (1, 2, 3)] == ["ok", "ok", "ok"], trusts
    said = [trusts[2]["saw"], *(note["saw"] for note in trusts[2]["notes"])]
    assert f"the token is that of {DORA.login}" in said
    through = [trusts[4]["saw"], *(note["saw"] for note in trusts[4]["notes"])]
    assert "Headlamp's requests come to a proxy like this one" in through


def test_without_a_login_client_and_callback_are_seen_and_the_secret_is_not(
    doctor: Doctor,
) -> None:
    trusts = doctor.run()
    assert (trusts[3]["status"], trusts[3]["cause"]) == ("unknown", "secret_not_checked")
    assert "knows the client" in trusts[3]["notes"][0]["saw"]


@pytest.mark.parametrize(
    ("changes", "cause", "mend"),
    [
        ({"rules": ({"extraClaims": {"tags": ["tag:k8s-admin"]}},)}, "protected_claim_in_grant", '"tags"'),
        ({"rules": ({"extraClaims": ["groups"]},)}, "grant_unreadable", "extraClaims"),
        ({"tags": ("tag:server",)}, "tagged_device", "advertise-tags"),
    ],
    ids=["a protected claim", "a grant that is none", "a tagged device"],
)  # fmt: skip
def test_what_a_tailnet_does_to_a_login_is_named(
    doctor: Doctor, changes: dict[str, Any], cause: str, mend: str
) -> None:
    doctor.stage.tsidp.devices[""] = replace(HERE, **changes)
    trusts = doctor.run("--login")
    assert (trusts[3]["status"], trusts[3]["cause"]) == ("failed", cause), trusts[3]
    assert mend in trusts[3]["mend"]
    assert doctor.status == 1


def test_a_wrong_secret_is_named(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("wrong")
    trusts = doctor.run("--login")
    assert (trusts[3]["status"], trusts[3]["cause"]) == ("failed", "secret_wrong"), trusts[3]


def test_who_is_shared_in_is_noted(doctor: Doctor) -> None:
    doctor.stage.tsidp.devices[""] = replace(HERE, name="device-of-shared-to-user")
    trusts = doctor.run("--login")
    assert "shared_in_user" in [note["cause"] for note in (trusts[5], *trusts[5]["notes"])]


@pytest.mark.parametrize(
    ("flag", "value", "trust", "cause", "mend"),
    [
        ("oidc_issuer_url", "{url}/", 2, "issuer_mismatch", "--oidc-issuer-url={url}"),
        ("oidc_groups_claim", "tags", 2, "tags_never_arrive", "--oidc-groups-claim=groups"),
        ("oidc_ca_file", None, 2, "issuer_certificate_unknown_ca", "--oidc-ca-file"),
        ("oidc_client_id", "another", 3, "audience_mismatch", "--oidc-client-id={client}"),
        ("oidc_signing_algs", "ES256", 2, "signing_algs_mismatch", "--oidc-signing-algs=ES256,RS256"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(
    doctor: Doctor, flag: str, value: str | None, trust: int, cause: str, mend: str
) -> None:
    url, client = doctor.stage.tsidp.url, doctor.client.id
    trusts = doctor.run(**{flag: value and value.format(url=url)})
    assert (trusts[trust]["status"], trusts[trust]["cause"]) == ("failed", cause), trusts[trust]
    assert mend.format(url=url, client=client) in trusts[trust]["mend"]


def test_lost_state_of_tsidp_is_an_unknown_client(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with staged(cluster, tmp_path, "with-doctor-lost") as stage:
        doctor = Doctor(stage, stage.headlamp.client, tmp_path, capsys)
        stage.tsidp.restart(losing=["oidc-key.json", "oauth-clients.json"])
        trusts = doctor.run()
        assert (trusts[3]["status"], trusts[3]["cause"]) == ("failed", "client_unknown")
        stage.tsidp.stop()
        trusts = doctor.run()
        assert (trusts[2]["status"], trusts[2]["cause"]) == ("failed", "issuer_refused")


@dataclass
class Elsewhere:
    """Where a Headlamp is led in place of the proxy: an address, and what it trusts there."""

    url: str
    ca_file: Path


def another_headlamp(
    stage: Stage, folder: Path, serve: Serve | Elsewhere, **changes: str
) -> Headlamp:
    port = free_port()
    client = stage.tsidp.register(callback_url(port))
    sign_in = SignIn(stage.tsidp.url, stage.tsidp.ca_file, replace(client, **changes))
    return Headlamp(folder, port, sign_in, serve)


Break = Callable[[Stage, Path], Serve | Elsewhere]


def to_the_api_server(stage: Stage, folder: Path) -> Elsewhere:
    trust = folder / "trust"
    trust.mkdir()
    (trust / "ca.crt").write_bytes(stage.cluster.ca_file.read_bytes())
    (trust / "token").write_text("none")
    return Elsewhere(stage.cluster.url, trust / "ca.crt")


def with_another_ca(stage: Stage, folder: Path) -> Elsewhere:
    return Elsewhere(stage.serve.url, to_the_api_server(stage, folder).ca_file)


def to_nobody(stage: Stage, folder: Path) -> Elsewhere:
    return Elsewhere(f"https://127.0.0.1:{free_port()}", stage.serve.ca_file)


@pytest.mark.parametrize(
    ("wrong", "cause", "mend"),
    [
        (to_the_api_server, "headlamp_bypasses_proxy", "KUBERNETES_SERVICE_HOST=127.0.0.1"),
        (with_another_ca, "headlamp_cannot_reach_proxy", "rollout restart"),
        (to_nobody, "headlamp_cannot_reach_proxy", "rollout restart"),
    ],
)
def test_where_headlamp_is_led_is_seen(
    doctor: Doctor, tmp_path: Path, wrong: Break, cause: str, mend: str
) -> None:
    folder = tmp_path / "headlamp"
    folder.mkdir()
    with another_headlamp(doctor.stage, folder, wrong(doctor.stage, folder)) as headlamp:
        trusts = doctor.run(headlamp_url=headlamp.url, oidc_client_id=headlamp.client.id)
    assert (trusts[4]["status"], trusts[4]["cause"]) == ("failed", cause), trusts[4]
    assert mend in trusts[4]["mend"]


def test_a_headlamp_whose_files_came_too_late_has_no_cluster(
    doctor: Doctor, tmp_path: Path
) -> None:
    folder = tmp_path / "headlamp"
    (folder / "trust").mkdir(parents=True)
    nowhere = Elsewhere(doctor.stage.serve.url, folder / "trust" / "ca.crt")
    with another_headlamp(doctor.stage, folder, nowhere) as headlamp:
        trusts = doctor.run(headlamp_url=headlamp.url, oidc_client_id=headlamp.client.id)
    assert (trusts[2]["status"], trusts[2]["cause"]) == ("failed", "headlamp_no_cluster"), trusts[2]
