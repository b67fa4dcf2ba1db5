"""What must hold between settings; a problem is shown with the setting to change."""

from __future__ import annotations

import pytest

from tests.config.loading import REQUIRED, SOUND, load_with, problems_of

PLAIN = "--plaintext"
UPSTREAM = "--upstream=https://10.0.0.1"
MADE = ("--trust-dir=/trust", "--cert-dir=/certs")
KUBECONFIG = {"/kc": "{}", "/ca": "", "/jwks": "{}"}


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        # Required, whole.
        ((), "--oidc-issuer-url: is required"),
        (("--oidc-issuer-url=",), '--oidc-issuer-url "" (flag): is required'),
        ((), "--oidc-client-id: is required"),
        (("--oidc-client-id=",), '--oidc-client-id "" (flag): is required'),
        (("--oidc-username-claim=",), '--oidc-username-claim "" (flag): is empty'),
        (("--authenticated-group=",), '--authenticated-group "" (flag): is empty'),
        (("--authenticated-group= a",), '--authenticated-group " a" (flag): begins or ends with'),
        (("--authenticated-group=a\n",), '--authenticated-group "a\\n" (flag): holds a control'),
        (("--listen=",), '--listen "" (flag): is not an address'),
        (("--admin-listen=",), '--admin-listen "" (flag): is not an address'),
        # Passthrough.
        (
            (*REQUIRED, "--token-passthrough-audience=a"),
            '--token-passthrough-audience "a" (flag): has no effect without',
        ),
        # Audit.
        (
            (*REQUIRED, "--audit-log-path=/log"),
            '--audit-log-path "/log" (flag): has no effect without --audit-policy-file',
        ),
        (
            (*REQUIRED, "--audit-webhook-config-file=/kc"),
            '--audit-webhook-config-file "/kc" (flag): has no effect without --audit-policy-file',
        ),
        (
            (*REQUIRED, "--audit-policy-file=/kc"),
            '--audit-policy-file "/kc" (flag): has no effect without a place for the events',
        ),
        (
            (*REQUIRED, "--forwarded-from=10.0.0.1/8"),
            '--forwarded-from "10.0.0.1/8" (flag): has bits set behind its length',
        ),
        ((*REQUIRED, "--forwarded-from=pods"), '--forwarded-from "pods" (flag): is not a CIDR'),
        # Keys.
        (
            (*REQUIRED, "--oidc-discovery-url=https://idp.example/"),
            '--oidc-discovery-url "https://idp.example/" (flag): is the issuer itself',
        ),
        (
            ("--oidc-jwks-file=/jwks", "--oidc-discovery-url=https://a"),
            '--oidc-discovery-url "https://a" (flag): cannot go with --oidc-jwks-file',
        ),
        (
            ("--oidc-jwks-file=/jwks", "--oidc-http-proxy=http://a:1"),
            '--oidc-http-proxy "http://a:1" (flag): cannot go with --oidc-jwks-file',
        ),
        (
            ("--oidc-jwks-file=/jwks", "--oidc-ca-file=/ca"),
            '--oidc-ca-file "/ca" (flag): cannot go with --oidc-jwks-file',
        ),
        # Limits.
        (
            (*REQUIRED, "--max-head-bytes=5000"),
            '--max-head-bytes "5000" (flag): leaves no room for a token of --max-token-bytes 16384',
        ),
        (("--max-head-bytes=2Mi",), '--max-head-bytes "2Mi" (flag): is not a whole number'),
        (
            ("--max-head-bytes=2000000",),
            '--max-head-bytes "2000000" (flag): is out of range; write from 4096 to 1000000',
        ),
        (("--max-connections=0",), '--max-connections "0" (flag): is out of range'),
        (
            ("--head-timeout=0s",),
            '--head-timeout "0s" (flag): is out of range; write from 0.1s to 300s',
        ),
        (
            ("--max-streams-per-user=-1",),
            '--max-streams-per-user "-1" (flag): is out of range; write from 1 to',
        ),
        # Identities.
        (
            ("--allow-reserved-group=system:masters",),
            '--allow-reserved-group "system:masters" (flag): can never be allowed',
        ),
        (
            ("--allow-reserved-group=system:nodes", "--allow-reserved-group=devs"),
            '--allow-reserved-group "system:nodes", "devs" (flag): "devs" is not reserved',
        ),
        (
            ("--reserved-prefix=", "--reserved-prefix=ops:"),
            '--reserved-prefix "" (flag): is empty',
        ),
        *(
            (
                (f"--authenticated-group={prefix}x",),
                f'--authenticated-group "{prefix}x" (flag): has a reserved prefix',
            )
            for prefix in ("system:", "kubeadm:", "eks:", "aks:")
        ),
        (
            ("--authenticated-group=ops:x", "--reserved-prefix=ops:"),
            '--authenticated-group "ops:x" (flag): has a reserved prefix',
        ),
        # The API server.
        ((), "--upstream: not in a cluster"),
        (
            ("--kubeconfig=/kc", UPSTREAM),
            '--upstream "https://10.0.0.1" (flag): cannot go with --kubeconfig',
        ),
        (
            ("--kubeconfig=/kc", "--upstream-ca-file=/ca"),
            '--upstream-ca-file "/ca" (flag): cannot go with --kubeconfig',
        ),
        (
            ("--kubeconfig=/kc", "--upstream-token-file=/token"),
            '--upstream-token-file "/token" (flag): cannot go with --kubeconfig',
        ),
        (
            ("--upstream=https://localhost:6443",),
            '--upstream "https://localhost:6443" (flag): is where this proxy itself listens (',
        ),
        (
            ("--upstream=https://127.0.0.1", "--listen=:443"),
            '--upstream "https://127.0.0.1" (flag): is where this proxy itself listens',
        ),
        # Certificates.
        (("--trust-dir=/a",), '--trust-dir "/a" (flag): needs --cert-dir as well'),
        (("--cert-dir=/a",), '--cert-dir "/a" (flag): needs --trust-dir as well'),
        (
            ("--trust-dir=/a", "--cert-dir=/b/../a/"),
            '--cert-dir "/b/../a/" (flag): is inside --trust-dir',
        ),
        (("--trust-dir=/a", "--cert-dir=/a/b"), '--cert-dir "/a/b" (flag): is inside --trust-dir'),
        (
            ("--tls-cert-file=/a",),
            '--tls-cert-file "/a" (flag): needs --tls-private-key-file as well',
        ),
        (
            ("--tls-private-key-file=/a",),
            '--tls-private-key-file "/a" (flag): needs --tls-cert-file as well',
        ),
        (
            (*MADE, "--tls-cert-file=/a", "--tls-private-key-file=/b"),
            '--trust-dir "/trust" (flag): cannot go with --tls-cert-file and',
        ),
        (
            ("--cert-dir=/c", "--tls-cert-file=/a"),
            '--cert-dir "/c" (flag): cannot go with --tls-cert-file and',
        ),
        ((), "--listen: no certificate to serve with"),
        (("--plaintext=false",), "--listen: no certificate to serve with"),
        # Plaintext and listeners.
        *(
            (
                (PLAIN, f"--listen={address}"),
                f'--plaintext "true" (flag): would send tokens unencrypted over --listen {address}',
            )
            for address in (":6443", "0.0.0.0:6443", "[::]:6443", "10.0.0.1:80", "proxy.ns:80")
        ),
        ((PLAIN, *MADE), '--trust-dir "/trust" (flag): cannot go with --plaintext'),
        ((PLAIN, *MADE), '--cert-dir "/certs" (flag): cannot go with --plaintext'),
        ((PLAIN, "--tls-cert-file=/a"), '--tls-cert-file "/a" (flag): cannot go with --plaintext'),
        (
            (PLAIN, "--tls-private-key-file=/a"),
            '--tls-private-key-file "/a" (flag): cannot go with --plaintext',
        ),
        (("--admin-listen=:6443",), '--admin-listen ":6443" (flag): is taken by --listen'),
        (("--listen=127.0.0.1:9090",), "--admin-listen: is taken by --listen 127.0.0.1:9090"),
        (
            ("--listen=unix:/s", "--admin-listen=unix:/s"),
            '--admin-listen "unix:/s" (flag): is a unix socket',
        ),
    ],
)
def test_a_rule_that_is_broken_is_named(flags: tuple[str, ...], problem: str) -> None:
    found = problems_of(*flags, base=(), files=KUBECONFIG)
    assert [line for line in found if line.startswith(problem)], found


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", "6443"), ("localhost", "6443"), ("0.0.0.0", "6443")],
)
def test_a_service_host_that_points_at_ourselves_is_refused(host: str, port: str) -> None:
    env = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    (problem,) = problems_of(base=(*REQUIRED, PLAIN), env=env)
    assert problem == (
        f"--upstream: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT ({host}:{port}) are "
        "where this proxy itself listens (--listen 127.0.0.1:6443); give the API server's own "
        "address"
    )


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("", "443", "are not both set"),
        ("10.0.0.1", "", "are not both set"),
        ("10.0.0.1", "https", "a port that is not a number from 1 to 65535"),
        ("10.0.0.1", "0", "a port that is not a number from 1 to 65535"),
        ("10.0.0.1/x", "443", "neither an IP address nor a DNS name"),
    ],
)
def test_an_incomplete_cluster_environment_names_the_flags_to_set(
    host: str, port: str, words: str
) -> None:
    env = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    (problem,) = problems_of(base=(*REQUIRED, PLAIN), env=env)
    assert words in problem
    assert problem.endswith("set --upstream or --kubeconfig")


@pytest.mark.parametrize(
    "flags",
    [
        (PLAIN, UPSTREAM),
        (PLAIN, UPSTREAM, "--listen=unix:/run/s"),
        (PLAIN, UPSTREAM, "--listen=[::1]:0", "--admin-listen=127.0.0.1:0"),
        (PLAIN, "--upstream=https://127.0.0.1:16443"),
        (PLAIN, "--kubeconfig=/kc"),
        (PLAIN, "--kubeconfig=/kc", "--upstream="),
        (PLAIN, UPSTREAM, "--oidc-jwks-file=/jwks"),
        (PLAIN, UPSTREAM, "--oidc-discovery-url=https://idp.internal/.well-known"),
        (PLAIN, UPSTREAM, "--allow-reserved-group=system:authenticated"),
        (PLAIN, UPSTREAM, "--allow-reserved-group=ops:a", "--reserved-prefix=ops:"),
        (UPSTREAM, *MADE),
        (UPSTREAM, *MADE, "--listen=:6443", "--serving-name=proxy.ns.svc"),
        (UPSTREAM, "--trust-dir=/a/b", "--cert-dir=/a"),
        (UPSTREAM, "--trust-dir=/a", "--cert-dir=/ab"),
    ],
)
def test_what_keeps_the_rules_is_taken(flags: tuple[str, ...]) -> None:
    load_with(*flags, base=REQUIRED, files=KUBECONFIG)


def test_every_problem_is_reported_at_once_with_its_source() -> None:
    found = problems_of(
        "--oidc-issuer-url=http://idp.example",
        "--oidc-signing-algs=HS256",
        "--pass-header=Cookie",
        "--pass-header=X-Remote-User",
        "--lissten=:1",
        base=(),
        env={
            "HEADLAMP_AUTH_PROXY_OIDC_CLOCK_SKEW": "60",
            "HEADLAMP_AUTH_PROXY_CONFIG": "/f",
            "HEADLAMP_AUTH_PROXY_TYPO": "",
        },
        files={"/f": "oidc-client-ids: []\nshutdown-grace: -5s\ntrust-dir: /t"},
    )
    variable = "environment variable HEADLAMP_AUTH_PROXY_OIDC_CLOCK_SKEW"
    starts = [
        "HEADLAMP_AUTH_PROXY_TYPO: unknown environment variable",
        "--lissten: unknown flag; did you mean --listen?",
        "oidc-client-ids (/f, line 1): unknown key; did you mean oidc-client-id?",
        '--oidc-issuer-url "http://idp.example" (flag): is not https',
        '--oidc-signing-algs "HS256" (flag): unsupported signing alg: "HS256"',
        f'--oidc-clock-skew "60" ({variable}): has no unit',
        '--pass-header "Cookie" (flag): can never pass',
        '--pass-header "X-Remote-User" (flag): can never pass',
        '--shutdown-grace "-5s" (/f, line 2): is negative',
        "--upstream: not in a cluster",
        "--oidc-client-id: is required",
        '--trust-dir "/t" (/f, line 3): needs --cert-dir as well',
    ]
    assert len(found) == len(starts), found
    for line, start in zip(found, starts, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    "flag",
    ["--oidc-issuer-url=x", "--listen=x", "--upstream=x", "--plaintext=x", "--kubeconfig=\udcff"],
)
def test_one_mistake_is_not_reported_twice(flag: str) -> None:
    base = tuple(given for given in SOUND if not given.startswith(flag.partition("=")[0]))
    if flag.startswith("--kubeconfig"):
        base = (*REQUIRED, PLAIN)
    assert len(problems_of(flag, base=base)) == 1


@pytest.mark.parametrize(
    "flag",
    [
        "--oidc-http-proxy=http://user:hunter2@localhost:1055",
        "--oidc-http-proxy=http://user:hunter2/x@localhost:1055",
        "--oidc-issuer-url=https://user:hunter2@idp.example",
        "--upstream=https://user:hunter2@10.0.0.1",
        "https://user:hunter2@10.0.0.1",
    ],
)
def test_no_message_repeats_a_password(flag: str) -> None:
    (problem,) = problems_of(flag)
    assert "hunter2" not in problem
