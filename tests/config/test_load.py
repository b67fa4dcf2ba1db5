"""A ``Config`` is whole: defaults are the contract's, and what was left open is filled in."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import pytest
import trustme

from proxy.config import Address, Config, ConfigError, load
from proxy.config.model import SETTINGS
from tests.config.loading import REQUIRED, SOUND, load_with

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
IN_POD = (*REQUIRED, "--plaintext")

DEFAULTS: dict[str, object] = {
    "oidc_issuer_url": "",
    "oidc_client_id": (),
    "oidc_required_claim": {},
    "oidc_signing_algs": ("RS256",),
    "oidc_ca_file": None,
    "oidc_discovery_url": None,
    "oidc_jwks_file": None,
    "oidc_http_proxy": None,
    "oidc_clock_skew": 60.0,
    "token_passthrough": False,
    "token_passthrough_audience": (),
    "authentication_config": None,
    "disallowed_issuer": (),
    "oidc_username_claim": "email",
    "oidc_username_prefix": "",
    "oidc_groups_claim": ("tags", "groups"),
    "oidc_groups_prefix": "",
    "send_credential_id": False,
    "send_token_facts": False,
    "groups_allow": (),
    "allow_reserved_group": (),
    "reserved_prefix": ("system:", "kubeadm:", "eks:", "aks:"),
    "authenticated_group": "headlamp-auth-proxy:authenticated",
    "allow_impersonation": False,
    "deny_file": None,
    "upstream": None,
    "upstream_ca_file": None,
    "upstream_token_file": None,
    "kubeconfig": None,
    "allow_privileged_service_account": False,
    "pass_header": (),
    "listen": Address("127.0.0.1", 6443),
    "serving_name": (),
    "trust_dir": None,
    "cert_dir": None,
    "tls_cert_file": None,
    "tls_private_key_file": None,
    "plaintext": False,
    "whoami": True,
    "max_head_bytes": 65_536,
    "max_head_fields": 200,
    "head_timeout": 10.0,
    "tls_handshake_timeout": 10.0,
    "idle_timeout": 120.0,
    "stall_timeout": 300.0,
    "max_connections": 10_000,
    "max_connections_per_address": 0,
    "max_streams_per_user": 1000,
    "max_requests_per_user": 200,
    "max_token_bytes": 16_384,
    "max_groups": 256,
    "audit_policy_file": None,
    "audit_log_path": None,
    "audit_log_maxsize": 100,
    "audit_log_maxage": 366,
    "audit_log_maxbackup": 100,
    "audit_webhook_config_file": None,
    "forwarded_from": (),
    "record_sessions": None,
    "record_sessions_failure": "open",
    "record_sessions_max_bytes": 104_857_600,
    "admin_listen": Address("", 9090),
    "tracing_otlp_endpoint": None,
    "tracing_sampling_rate_per_million": 1_000_000,
    "shutdown_grace": 25.0,
    "config": None,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_default_is_that_of_the_contract(name: str) -> None:
    assert getattr(Config(), name) == DEFAULTS[name]


def test_every_setting_of_the_contract_exists_and_no_other() -> None:
    assert list(SETTINGS) == list(DEFAULTS)


def test_the_names_of_a_setting_are_derived_from_its_field() -> None:
    setting = SETTINGS["oidc_issuer_url"]
    assert setting.flag == "--oidc-issuer-url"
    assert setting.variable == "HEADLAMP_AUTH_PROXY_OIDC_ISSUER_URL"
    assert setting.key == "oidc-issuer-url"


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().plaintext = True  # type: ignore[misc]


def test_the_contract_says_what_is_repeatable() -> None:
    assert {name for name, setting in SETTINGS.items() if setting.declared.repeatable} == {
        "disallowed_issuer",
        "oidc_client_id",
        "oidc_required_claim",
        "oidc_signing_algs",
        "token_passthrough_audience",
        "oidc_groups_claim",
        "groups_allow",
        "allow_reserved_group",
        "reserved_prefix",
        "pass_header",
        "serving_name",
        "forwarded_from",
    }


@pytest.mark.parametrize(
    ("flags", "prefix"),
    [
        ((), ""),
        (("--oidc-username-claim=sub",), "https://idp.example#"),
        (("--oidc-username-claim=sub", "--oidc-username-prefix="), "https://idp.example#"),
        (("--oidc-username-claim=sub", "--oidc-username-prefix=-"), ""),
        (("--oidc-username-claim=Email",), "https://idp.example#"),
        (("--oidc-username-prefix=-",), ""),
        (("--oidc-username-prefix=oidc:",), "oidc:"),
        (("--oidc-username-prefix=--",), "--"),
        (("--oidc-username-prefix=-:",), "-:"),
    ],
)
def test_the_user_prefix_follows_kube_apiservers_rule(flags: tuple[str, ...], prefix: str) -> None:
    assert load_with(*flags).oidc_username_prefix == prefix


def test_the_user_prefix_has_the_issuer_to_the_letter() -> None:
    config = load_with("--oidc-issuer-url=https://idp.example/", "--oidc-username-claim=sub")
    assert config.oidc_username_prefix == "https://idp.example/#"


def test_the_groups_prefix_has_no_special_values() -> None:
    assert load_with("--oidc-groups-prefix=-").oidc_groups_prefix == "-"


def test_no_signing_algorithm_is_the_default_one() -> None:
    assert load_with("--oidc-signing-algs=").oidc_signing_algs == ("RS256",)


def test_of_a_claim_that_is_required_twice_the_last_value_counts() -> None:
    claims = ["--oidc-required-claim=a=1", "--oidc-required-claim=b=2", "--oidc-required-claim=a=3"]
    assert list(load_with(*claims).oidc_required_claim.items()) == [("a", "3"), ("b", "2")]


def test_reserved_prefixes_are_added_to_the_built_in_ones() -> None:
    config = load_with("--reserved-prefix=ops:", "--reserved-prefix=gke:")
    assert config.reserved_prefix == ("system:", "kubeadm:", "eks:", "aks:", "ops:", "gke:")


@pytest.mark.parametrize("ca", [True, False])
def test_in_a_cluster_the_service_account_is_used(ca: bool) -> None:
    ca_file = SERVICE_ACCOUNT / "ca.crt"
    files = {str(ca_file): _certificate()} if ca else {}
    config = load_with(base=IN_POD, env=IN_CLUSTER, files=files)
    assert config.upstream == Address("10.96.0.1", 443)
    assert config.upstream_ca_file == (ca_file if ca else None)
    assert config.upstream_token_file == SERVICE_ACCOUNT / "token"


def test_an_ipv6_cluster_is_used_as_well() -> None:
    config = load_with(base=IN_POD, env=IN_CLUSTER | {"KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert str(config.upstream) == "[fd00::1]:443"


def test_an_upstream_alone_keeps_the_service_accounts_files() -> None:
    ca_file = SERVICE_ACCOUNT / "ca.crt"
    config = load_with(env=IN_CLUSTER, files={str(ca_file): _certificate()})
    assert config.upstream == Address("10.0.0.1", 443)
    assert config.upstream_ca_file == ca_file
    assert config.upstream_token_file == SERVICE_ACCOUNT / "token"


def test_a_service_account_that_cannot_be_read_is_not_taken_for_none() -> None:
    def read(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with pytest.raises(ConfigError) as caught:
        load(SOUND, {}, read)
    (problem,) = caught.value.problems
    assert problem.startswith(f'--upstream-ca-file "{SERVICE_ACCOUNT}/ca.crt" (default): cannot be')


def test_upstream_files_that_are_given_are_used() -> None:
    config = load_with(
        "--upstream-ca-file=/ca",
        "--upstream-token-file=/token",
        files={"/ca": _certificate(), str(SERVICE_ACCOUNT / "ca.crt"): "not looked at"},
    )
    assert config.upstream_ca_file == Path("/ca")
    assert config.upstream_token_file == Path("/token")


def test_a_kubeconfig_leaves_everything_about_the_upstream_to_itself() -> None:
    config = load_with(base=(*IN_POD, "--kubeconfig=/kc"), env=IN_CLUSTER, files={"/kc": "{}"})
    assert config.kubeconfig == Path("/kc")
    assert (config.upstream, config.upstream_ca_file, config.upstream_token_file) == (None,) * 3


def test_a_sound_configuration_is_the_same_each_time() -> None:
    assert load_with(base=SOUND) == load_with(base=SOUND)


def _certificate() -> bytes:
    return trustme.CA().cert_pem.bytes()
