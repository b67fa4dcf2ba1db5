"""The page in a real Chromium, by Headlamp's own cluster path, on a real kube-apiserver."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from tests.kubectl import kubectl
from tests.real.account import OWN_GROUP
from tests.real.chromium import PHONE, SCHEMES, WIDE, Chromium, Scheme, chromium
from tests.real.cluster import Cluster
from tests.real.whoami_stage import (
    ALICE,
    BOB,
    ERIN,
    HOSTILE,
    MALLORY,
    NEWCOMER,
    ONLY_ASKED_ONCE,
    PATH,
    TEAM,
    Stage,
    scenes,
    staged,
    token,
)

SCRIPTLESS = "script, iframe, object, embed, link, img, [onload], [onerror], [onclick], [style]"


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(cluster, tmp_path_factory.mktemp("whoami"), "with-whoami") as stage:
        yield stage


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as running:
        yield running


def opened(
    browser: Chromium,
    stage: Stage,
    jwt: str | None,
    *,
    scheme: Scheme = "light",
    width: int = WIDE,
) -> Chromium:
    """Open the page as whoever has that token, and wait until it is there."""
    browser.sign_in(stage.headlamp.url, jwt)
    browser.look(scheme=scheme, width=width)
    browser.open(stage.url)
    browser.one("h1")
    return browser


def wait_until_allowed(stage: Stage, path: str, jwt: str) -> None:
    """The API server hears of a binding a moment after it was made."""
    stage.serve.wait_until(lambda: stage.serve.get(path, jwt)[0] == 200, "allowed")


# --- What is read there ---------------------------------------------------------------------------


def test_who_is_let_in_reads_as_whom_and_with_which_rights(stage: Stage, browser: Chromium) -> None:
    page = opened(browser, stage, scenes()["let-in"])
    assert page.text("h1") == "You are let in"
    assert page.text(".who") == ALICE
    rows = [row.text for row in page.all("tbody tr")]
    assert rows == [
        f"{TEAM} groups yes",
        "all-of-the-company groups no",
        f"{OWN_GROUP} added here, to everybody yes",
    ]
    assert "get, list, watch, create, update on configmaps" in page.text()


@pytest.mark.parametrize(
    ("scene", "heading", "words"),
    [
        ("nothing-beyond-discovery", "You are let in, and may do nothing yet", "ClusterRoleBind"),
        ("cannot-be-impersonated", "You are let in here, but not by the cluster", "impersonate"),
        ("expired", "You are not let in", "The token has expired."),
        ("wrong-audience", "You are not let in", "The token was issued for another application"),
        ("no-email", "You are not let in", "does not carry the claim that names its user"),
        ("denied", "You are not let in", "Access to this cluster has been suspended for you."),
        ("no-token", "You are not signed in", "No bearer token was sent."),
    ],
)
def test_every_state_has_its_heading_and_its_reason(
    stage: Stage, browser: Chromium, scene: str, heading: str, words: str
) -> None:
    page = opened(browser, stage, scenes()[scene])
    assert page.text("h1") == heading
    assert words in page.text()


def test_the_binding_that_it_gives_a_bounced_user_lets_them_see(
    stage: Stage, browser: Chromium
) -> None:
    """With another role, as it says: ``view`` is empty where no controller fills it in."""
    newcomer = token(NEWCOMER)
    pasted = opened(browser, stage, newcomer).text("section[aria-labelledby=rights] pre")
    assert pasted.count('"view"') == 1
    stage.cluster.apply(pasted.replace('"view"', '"with-whoami-alice"'))
    try:
        wait_until_allowed(stage, "/api/v1/namespaces/default/pods", newcomer)
    finally:
        name = yaml.safe_load(pasted)["metadata"]["name"]
        stage.cluster.kubectl("delete", "clusterrolebinding", name)


def test_the_rule_that_it_names_for_a_refusal_is_the_one_that_was_missing(
    stage: Stage, browser: Chromium
) -> None:
    jwt = token(ALICE, TEAM)
    path = "/api/v1/namespaces/shop/secrets"
    assert stage.serve.get(path, jwt)[0] == 403
    page = opened(browser, stage, jwt)
    assert "list secrets in namespace shop" in page.text()
    page.one("details summary").click()
    pasted = page.text("li details pre")
    stage.cluster.apply(pasted)
    try:
        wait_until_allowed(stage, path, jwt)
    finally:
        for document in yaml.safe_load_all(pasted):
            kind, name = document["kind"], document["metadata"]["name"]
            stage.cluster.kubectl("-n", "shop", "delete", kind, name)


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("/api/v1/nodes", {"verb": "list", "apiGroup": "", "resource": "nodes"}),
        (
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
            {
                "verb": "get",
                "apiGroup": "apps",
                "resource": "deployments",
                "subresource": "scale",
                "name": "web",
                "namespace": "shop",
            },
        ),
        ("/metrics", {"verb": "get", "path": "/metrics"}),
    ],
)
def test_the_api_servers_403_passes_and_the_log_names_the_missing_rule(
    stage: Stage, path: str, missing: dict[str, str]
) -> None:
    status, body = stage.serve.get(path, token(BOB))
    assert (status, body["reason"]) == (403, "Forbidden")
    assert "causes" not in body.get("details", {})  # it is not one of ours

    def line() -> dict[str, Any] | None:
        found = [x for x in stage.serve.requests() if x["path"] == path and x.get("user") == BOB]
        return found[-1] if found else None

    stage.serve.wait_until(lambda: line() is not None, "logged")
    found = line()
    assert found is not None
    assert found["missing"] == missing


def test_it_may_be_asked_about_another_namespace_by_its_form(
    stage: Stage, browser: Chromium
) -> None:
    """The form keeps Headlamp's cookie, which a page from elsewhere would not send along."""
    page = opened(browser, stage, token(ALICE, TEAM, "another"))
    field = page.one("input[name=namespace]")
    field.clear()
    field.send_keys("shop")
    page.follow("form button")
    assert page.text("h1") == "You are let in"
    assert page.one("input[name=namespace]").get_attribute("value") == "shop"


# --- As an attacker -------------------------------------------------------------------------------


def test_names_that_are_markup_run_nothing(stage: Stage, browser: Chromium) -> None:
    page = opened(browser, stage, scenes()["hostile"])
    assert page.text(".who") == HOSTILE
    assert page.run("return document.title") == "Who you are to this cluster"
    assert page.all(SCRIPTLESS) == []
    assert page.complaints() == []


def test_the_policy_would_let_nothing_run_even_if_it_were_there(
    stage: Stage, browser: Chromium
) -> None:
    page = opened(browser, stage, scenes()["let-in"])
    page.run(
        "document.body.insertAdjacentHTML('beforeend',"
        '\'<img src=x onerror="document.title=1"><p style="color:red">x</p>\');'
        "const s = document.createElement('script'); s.textContent = 'document.title = 2';"
        "document.body.append(s);"
    )
    assert page.run("return document.title") == "Who you are to this cluster"
    refused = " ".join(page.complaints())
    for directive in ("script-src", "style-src", "img-src"):
        assert directive in refused or "default-src" in refused


def test_it_cannot_be_framed_not_even_by_headlamp(stage: Stage, browser: Chromium) -> None:
    browser.sign_in(stage.headlamp.url, scenes()["let-in"])
    browser.open(f"{stage.headlamp.url}/clusters/main/version")
    browser.run(
        "const f = document.createElement('iframe'); f.src = arguments[0]; f.id = 'f';"
        "document.documentElement.append(f);"
        "return new Promise(done => { f.onload = done; f.onerror = done; });",
        stage.url,
    )
    inside = browser.run(
        "try { const d = document.getElementById('f').contentDocument;"
        "return d ? d.body.innerText : '' } catch { return '' }"
    )
    assert "You are let in" not in inside


def test_the_browser_keeps_nothing_of_it(stage: Stage, browser: Chromium) -> None:
    """Neither in a store nor in a cache: who goes back after signing out sees it no more."""
    page = opened(browser, stage, scenes()["let-in"])
    assert page.text(".who") == ALICE
    assert page.run("return [localStorage.length, sessionStorage.length]") == [0, 0]
    page.sign_in(stage.headlamp.url, None)
    page.open(stage.headlamp.url + "/clusters/main/version")
    page.driver.back()
    assert page.text("h1") == "You are not signed in"


# --- For everybody --------------------------------------------------------------------------------

_CONTRAST = """
const luminance = c => { const [r, g, b] = c.map(v => { v /= 255;
  return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
  return .2126 * r + .7152 * g + .0722 * b };
const rgb = text => text.match(/[0-9.]+/g).map(Number);
const behind = e => { for (; e; e = e.parentElement) {
  const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c }
  return [255, 255, 255] };
return [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(
  n => n.nodeType === 3 && n.data.trim())).map(e => {
  const [a, b] = [luminance(rgb(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
  return [e.tagName, (a + .05) / (b + .05)] }).filter(([, ratio]) => ratio < 4.5);
"""  # noqa: E501


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("scene", ["let-in", "nothing-beyond-discovery", "expired", "no-token"])
def test_it_can_be_read_in_both_schemes_and_on_a_phone(
    stage: Stage, browser: Chromium, scene: str, scheme: Scheme, width: int
) -> None:
    """WCAG 2.2 AA: a contrast of 4.5 to 1 for every text, and no scrolling sideways."""
    opened(browser, stage, scenes()[scene], scheme=scheme, width=width)
    assert browser.run(_CONTRAST) == []
    assert browser.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scene", list(scenes()))
def test_its_structure_is_one_for_screen_readers(
    stage: Stage, browser: Chromium, scene: str
) -> None:
    page = opened(browser, stage, scenes()[scene])
    assert page.run("return document.documentElement.lang") == "en"
    assert len(page.all("main")) == len(page.all("h1")) == 1
    levels = [int(heading.tag_name[1]) for heading in page.all("h1, h2, h3")]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    named = "return [...document.querySelectorAll('section[aria-labelledby]')]"
    assert page.run(
        f"{named}.every(s => document.getElementById(s.getAttribute('aria-labelledby')))"
    )
    assert page.run(
        "return [...document.querySelectorAll('input')].every(i => i.labels.length === 1)"
    )
    assert len(page.all("th:not([scope])")) == 0


# --- Without a browser ----------------------------------------------------------------------------


def test_kubectl_gets_it_as_json(stage: Stage) -> None:
    config = stage.serve.kubeconfig("alice-asks", token(ALICE, TEAM))
    account = json.loads(kubectl(config, "get", "--raw", PATH).stdout)
    assert account["user"]["username"] == ALICE


@pytest.mark.parametrize(
    ("minted", "words"),
    [
        (partial(token, MALLORY), "Access to this cluster has been suspended for you."),
        (partial(token, aud="other"), "The token was issued for another application"),
        (partial(token, exp=1), "The token has expired."),
        (partial(token, "system:admin"), "is reserved for the cluster's own components"),
    ],
    ids=["denied", "audience", "expired", "reserved"],
)
def test_kubectl_prints_a_refusal_in_our_words_and_where_to_read_on(
    stage: Stage, minted: Callable[[], str], words: str
) -> None:
    config = stage.serve.kubeconfig("refused", minted())
    said = kubectl(config, "get", "--raw", "/api", check=False).stderr
    assert words in said
    assert PATH in said


def test_the_api_server_is_asked_as_the_user_and_as_nobody_else(stage: Stage) -> None:
    stage.serve.get(PATH, token(ERIN))
    assert stage.serve.get(PATH, token(ONLY_ASKED_ONCE, TEAM))[1]["rbac"]["namespace"] == "default"
    event = stage.cluster.wait_for_audit_event(
        lambda event: (
            event.get("impersonatedUser", {}).get("username") == ONLY_ASKED_ONCE
            and event["objectRef"]["resource"] == "selfsubjectrulesreviews"
        )
    )
    assert set(event["impersonatedUser"]["groups"]) == {TEAM, OWN_GROUP, "system:authenticated"}
