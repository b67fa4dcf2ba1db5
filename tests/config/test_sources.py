"""Flag over environment over file over default; what names no setting is a mistake."""

from __future__ import annotations

import pytest

from proxy.config.declaration import ENVIRONMENT_PREFIX
from proxy.config.model import SETTINGS
from tests.config.loading import REQUIRED, load_with, problems_of

ENV = "HEADLAMP_AUTH_PROXY_"
FILE = "/etc/proxy.yaml"
USE_FILE = f"--config={FILE}"


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("environment", [False, True])
@pytest.mark.parametrize("file", [False, True])
def test_the_highest_source_wins_and_replaces_a_whole_list(
    flag: bool, environment: bool, file: bool
) -> None:
    content = "oidc-clock-skew: 3s\noidc-groups-claim: [file, file2]\n" if file else ""
    env = {f"{ENV}OIDC_CLOCK_SKEW": "2s", f"{ENV}OIDC_GROUPS_CLAIM": "env\nenv2"}
    flags = ["--oidc-clock-skew=1s", "--oidc-groups-claim=flag", "--oidc-groups-claim=flag2"]

    config = load_with(
        USE_FILE,
        *(flags if flag else []),
        env=env if environment else {},
        files={FILE: content},
    )

    expected = (1, "flag") if flag else (2, "env") if environment else (3, "file") if file else None
    if expected is None:
        assert config.oidc_clock_skew == 60
        assert config.oidc_groups_claim == ("tags", "groups")
    else:
        seconds, name = expected
        assert config.oidc_clock_skew == seconds
        assert config.oidc_groups_claim == (name, f"{name}2")


@pytest.mark.parametrize("flags", [["--shutdown-grace=5s"], ["--shutdown-grace", "5s"]])
def test_a_flags_value_follows_an_equals_sign_or_a_blank(flags: list[str]) -> None:
    assert load_with(*flags).shutdown_grace == 5


def test_a_flags_value_may_begin_with_a_dash() -> None:
    assert load_with("--oidc-groups-prefix", "--").oidc_groups_prefix == "--"
    assert load_with("--oidc-groups-prefix=-").oidc_groups_prefix == "-"


def test_of_a_flag_that_is_not_repeatable_the_last_one_counts() -> None:
    config = load_with("--shutdown-grace=wrong", "--shutdown-grace=1s", "--shutdown-grace=2s")
    assert config.shutdown_grace == 2


def test_a_switch_never_takes_the_next_argument_as_its_value() -> None:
    assert problems_of("--plaintext", "false") == [
        '"false": unexpected argument; settings start with --'
    ]


def test_a_switch_can_be_turned_off_again() -> None:
    pair = ["--tls-cert-file=/missing", "--tls-private-key-file=/missing"]
    problems = problems_of("--plaintext=false", *pair, env={f"{ENV}PLAINTEXT": "true"})
    assert all("cannot be read" in problem for problem in problems)


@pytest.mark.parametrize(
    "arguments",
    [
        {"flags": ["--oidc-groups-claim="]},
        {"env": {f"{ENV}OIDC_GROUPS_CLAIM": ""}},
        {"files": {FILE: "oidc-groups-claim: []"}},
        {"files": {FILE: "oidc-groups-claim: ['']"}},
    ],
)
def test_every_source_can_empty_a_list(arguments: dict[str, object]) -> None:
    flags = arguments.get("flags", [])
    env = arguments.get("env", {})
    files = arguments.get("files", {FILE: ""})
    assert isinstance(flags, list)
    assert isinstance(env, dict)
    assert isinstance(files, dict)
    assert load_with(USE_FILE, *flags, env=env, files=files).oidc_groups_claim == ()


def test_an_empty_value_among_others_is_a_mistake() -> None:
    assert problems_of("--oidc-groups-claim=", "--oidc-groups-claim=a") == [
        '--oidc-groups-claim "" (flag): is empty; give a name'
    ]


def test_a_list_in_the_environment_has_one_value_on_each_line() -> None:
    config = load_with(env={f"{ENV}GROUPS_ALLOW": "a, b\nc\n"})
    assert config.groups_allow == ("a, b", "c")


def test_signing_algorithms_are_comma_separated_and_repeatable() -> None:
    config = load_with("--oidc-signing-algs=RS256,ES256", "--oidc-signing-algs=PS512")
    assert config.oidc_signing_algs == ("RS256", "ES256", "PS512")


@pytest.mark.parametrize("argument", ["--lissten=:1", "--lissten"])
def test_an_unknown_flag_is_named_with_what_was_probably_meant(argument: str) -> None:
    assert problems_of(argument) == ["--lissten: unknown flag; did you mean --listen?"]


@pytest.mark.parametrize("argument", ["--liste=:1", "--oidc-issuer=https://a", "-l", "--no-such"])
def test_flags_cannot_be_abbreviated(argument: str) -> None:
    (problem,) = problems_of(argument)
    assert problem.startswith(f"{argument.partition('=')[0]}: unknown flag")


def test_the_value_of_an_unknown_flag_is_neither_shown_nor_a_second_mistake() -> None:
    (problem,) = problems_of("--client-secret", "hunter2")
    assert problem.startswith("--client-secret: unknown flag")
    assert "hunter2" not in problem


def test_arguments_that_are_no_flags_are_refused() -> None:
    assert problems_of("stray") == ['"stray": unexpected argument; settings start with --']


def test_a_flag_without_its_value_is_named_once() -> None:
    base = ("--oidc-client-id=headlamp", "--upstream=https://10.0.0.1", "--plaintext")
    assert problems_of("--oidc-issuer-url", base=base) == [
        "--oidc-issuer-url: needs a value; write --oidc-issuer-url=VALUE"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_METRICS",
        "PORT",
        "PORT_6443_TCP",
        "PORT_6443_TCP_PROTO",
        "PORT_6443_TCP_PORT",
        "PORT_6443_TCP_ADDR",
        "PORT_53_UDP_ADDR",
        "METRICS_SERVICE_HOST",
        "METRICS_SERVICE_PORT_HTTP",
        "METRICS_PORT",
        "METRICS_PORT_9090_TCP_ADDR",
    ],
)
def test_service_links_of_kubernetes_are_ignored(name: str) -> None:
    assert load_with(env={ENV + name: "tcp://10.0.0.7:6443"}) == load_with()


def test_no_setting_looks_like_a_service_link() -> None:
    for setting in SETTINGS.values():
        assert problems_of(env={setting.variable + "X": ""})
        assert "_PORT" not in setting.variable.removeprefix(ENVIRONMENT_PREFIX)
        assert "SERVICE_HOST" not in setting.variable
        assert "SERVICE_PORT" not in setting.variable


@pytest.mark.parametrize("name", ["GROUP_ALLOW", "PORTS", "PORT_6443", "SERVICE", "", "listen"])
def test_any_other_variable_with_our_prefix_is_a_typing_error(name: str) -> None:
    (problem,) = problems_of(env={ENV + name: "secret"})
    assert problem.startswith(f"{ENV}{name}: unknown environment variable")
    assert "secret" not in problem


def test_the_variable_that_was_probably_meant_is_named() -> None:
    assert problems_of(env={f"{ENV}GROUP_ALLOW": "a"}) == [
        f"{ENV}GROUP_ALLOW: unknown environment variable; did you mean {ENV}GROUPS_ALLOW?"
    ]


def test_variables_of_others_are_none_of_our_business() -> None:
    assert load_with(env={"HEADLAMP_AUTH": "x", "PATH": "/bin", "LISTEN": ":1"}) == load_with()


def test_the_file_may_be_named_in_the_environment() -> None:
    config = load_with(env={f"{ENV}CONFIG": FILE}, files={FILE: "shutdown-grace: 1s"})
    assert config.shutdown_grace == 1


def test_a_file_alone_can_hold_a_whole_configuration() -> None:
    content = """
        oidc-issuer-url: https://idp.example
        oidc-client-id: [headlamp, 0123]
        oidc-required-claim:
          - hd=example.com
          - tier=1
        upstream: https://10.0.0.1
        plaintext: true
        """
    config = load_with(USE_FILE, base=(), files={FILE: content})
    assert config.oidc_issuer_url == "https://idp.example"
    assert config.oidc_client_id == ("headlamp", "0123")
    assert list(config.oidc_required_claim.items()) == [("hd", "example.com"), ("tier", "1")]
    assert config.plaintext is True


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("lissten: x", f"lissten ({FILE}, line 1): unknown key; did you mean listen?"),
        ("nothing-like-it: x", f"nothing-like-it ({FILE}, line 1): unknown key"),
        (
            "\nlisten: unix:/a\nlisten: unix:/b",
            f"listen ({FILE}, line 3): is given twice; keep one",
        ),
        ("? [a]\n: b", f"? ({FILE}, line 1): unknown key"),
        ("listen: [':1']", f"--listen ({FILE}, line 1): must be one text"),
        ("listen: {a: b}", f"--listen ({FILE}, line 1): must be one text"),
        ("groups-allow: a", f"--groups-allow ({FILE}, line 1): must be a list of texts"),
        ("groups-allow: [[a]]", f"--groups-allow ({FILE}, line 1): must be a list of texts"),
        ("groups-allow: {a: b}", f"--groups-allow ({FILE}, line 1): must be a list of texts"),
        (
            "\nshutdown-grace: 25",
            f'--shutdown-grace "25" ({FILE}, line 2): has no unit; write 25s for seconds',
        ),
        (
            "- listen",
            f'--config "{FILE}" (flag): must be a mapping, with settings as its keys',
        ),
    ],
)
def test_what_a_file_cannot_say_is_named_with_its_line(content: str, problem: str) -> None:
    assert problems_of(USE_FILE, files={FILE: content}) == [problem]


def test_a_name_that_would_not_show_is_escaped_so_that_a_problem_is_one_line() -> None:
    (problem,) = problems_of(USE_FILE, files={FILE: r'"a\nb\e[2J\x85": x'})
    assert problem == rf"a\nb\x1b[2J\x85 ({FILE}, line 1): unknown key"
    assert problems_of("--\udcff\u2028") == [r"--\udcff\u2028: unknown flag"]


def test_the_file_cannot_name_another_file() -> None:
    (problem,) = problems_of(USE_FILE, files={FILE: "config: other.yaml"})
    assert problem.startswith(f"config ({FILE}, line 1): unknown key")


def test_yaml_never_turns_a_word_into_a_boolean() -> None:
    base = (*REQUIRED, "--upstream=https://10.0.0.1")
    content = "plaintext: yes\noidc-groups-prefix: no"
    assert problems_of(USE_FILE, base=base, files={FILE: content}) == [
        f'--plaintext "yes" ({FILE}, line 1): is not a boolean; write true or false'
    ]


@pytest.mark.parametrize("content", ["{", "a: b: c", "a: *none", b"\xff\xfe\xfa", "[" * 5000])
def test_a_file_that_is_not_yaml_is_named(content: str | bytes) -> None:
    (problem,) = problems_of(USE_FILE, files={FILE: content})
    assert problem.startswith(f'--config "{FILE}" (flag): is not YAML: ')
    assert "\n" not in problem


@pytest.mark.parametrize("path", ["/no/such.yaml", "/nul\0"])
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    problem = problems_of(f"--config={path}")[0]
    assert problem.startswith("--config ")


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_says_nothing(content: str) -> None:
    assert load_with(USE_FILE, files={FILE: content}).shutdown_grace == 25
