"""``--login``: the code flow at the demo's issuer, and what each of its ends says."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.tools.demo import people
from proxy.tools.doctor import login
from tests.process import free_port
from tests.tools.doctor.stage import SECRET, Doctor, Stage, whole

OWN = "headlamp-auth-proxy:authenticated"


@pytest.fixture
def secret(stage: Stage) -> Path:
    path = stage.folder / "secret"
    path.write_text(f"{SECRET}\n")
    stage.flags["--client-secret-file"] = str(path)
    return path


def as_tsidp(stage: Stage, person: str) -> None:
    """Have the issuer know who asks without a page, as tsidp does on the tailnet."""
    own = stage.issuer._authorize

    async def authorize(request: web.Request) -> web.StreamResponse:
        query = {**request.query, "user": person}
        return await own(request.clone(rel_url=request.rel_url.with_query(query)))

    stage.at.overrides["/authorize"] = authorize


def test_on_the_tailnet_a_login_needs_no_browser(
    stage: Stage, doctor: Doctor, secret: Path
) -> None:
    as_tsidp(stage, "alice")
    with whole(stage):
        doctor.run("--login")
    assert [doctor.trusts[trust]["status"] for trust in (1, 2, 3)] == ["ok", "ok", "ok"]
    said = [note["saw"] for note in doctor.trusts[2]["notes"]]
    assert f"the token is that of {people.ALICE.email}" in said
    assert doctor.ok
    assert SECRET not in doctor.err + str(doctor.trusts)


class Person(threading.Thread):
    """Somebody with a browser, who opens what is printed, and chooses who to be."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
        super().__init__(name="person")
        self._stage, self._query = stage, query
        self.page = ""
        self._url = ""
        monkeypatch.setattr(login, "PATIENCE", 5.0)

    def show(self, text: str) -> None:
        self._url = next(word for word in text.split() if word.startswith("https://"))
        self.start()

    def run(self) -> None:
        import ssl

        context = ssl.create_default_context(cafile=str(self._stage.ca_file))
        try:
            with urllib.request.urlopen(self._url + self._query, context=context) as answer:
                self.page = answer.read().decode()
        except urllib.error.HTTPError as error:
            self.page = f"{error.code}: {error.read().decode()}"


@pytest.fixture
def callback(stage: Stage) -> str:
    where = f"http://localhost:{free_port()}"
    stage.registered = (f"{stage.headlamp.url}/oidc-callback", where)
    stage.flags["--login-callback"] = where
    return where


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Person]]:
    people: list[Person] = []
    monkeypatch.setattr(
        "proxy.tools.doctor.display.Display.show", lambda _self, text: people[0].show(text)
    )
    yield people
    for person in people:
        if person.is_alive():
            person.join()


def test_elsewhere_somebody_signs_in_with_a_browser(
    stage: Stage,
    doctor: Doctor,
    secret: Path,
    callback: str,
    shown: list[Person],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = Person(stage, monkeypatch, "&user=bob")
    shown.append(person)
    with whole(stage):
        doctor.run("--login")
    assert doctor.trusts[3]["status"] == "ok", doctor.trusts
    assert "Back to the terminal" in person.page
    assert callback in str(doctor.trusts[3])


def test_an_answer_to_another_login_is_not_taken(
    stage: Stage,
    doctor: Doctor,
    secret: Path,
    callback: str,
    shown: list[Person],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever makes a browser visit the callback with a code of their own gets nowhere."""
    person = Person(stage, monkeypatch, "")
    monkeypatch.setattr(login, "PATIENCE", 1.0)
    person._url = f"{callback}/?code=stolen&state=forged"
    monkeypatch.setattr(person, "show", lambda _: person.start())
    shown.append(person)
    with whole(stage):
        doctor.run("--login")
    assert doctor.trusts[3]["cause"] == "login_not_finished"
    assert person.page.startswith("400:")


def test_an_address_that_is_taken_is_told(
    stage: Stage, doctor: Doctor, secret: Path, callback: str
) -> None:
    with whole(stage), socket.create_server(("127.0.0.1", int(callback.rpartition(":")[2]))):
        doctor.run("--login")
    assert doctor.trusts[3]["cause"] == "login_not_finished"
    assert "--login-callback=" in doctor.trusts[3]["mend"]


def denied_at_token(text: str) -> Any:
    async def token(_: web.Request) -> web.Response:
        return web.Response(status=400, text=text)

    return token


@pytest.mark.parametrize(
    ("answer", "cause", "mend"),
    [
        ('extra claim "tags" overwriting protected claim', "protected_claim_in_grant", '"tags"'),
        (
            "Error 400: invalid_request - failed to merge extra claims\n",
            "protected_claim_in_grant",
            '"groups"',
        ),
        ("tsidp: tagged nodes not supported\n", "tagged_device", "advertise-tags"),
        ("json: cannot unmarshal array into Go value\n", "grant_unreadable", "extraClaims"),
        ("tsidp: redirect_uri mismatch\n", "callback_mismatch", "register"),
        ("something else\n", "login_failed", "log"),
    ],
)
def test_what_ends_a_login_at_the_token_endpoint_is_named(
    stage: Stage, doctor: Doctor, secret: Path, answer: str, cause: str, mend: str
) -> None:
    as_tsidp(stage, "alice")
    stage.at.overrides["/token"] = denied_at_token(answer)
    with whole(stage):
        doctor.run("--login")
    assert (doctor.trusts[3]["status"], doctor.trusts[3]["cause"]) == ("failed", cause)
    assert mend in doctor.trusts[3]["mend"]
    assert doctor.status == 1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ("eyJhbGciOiJSUzI1NiJ9.a-token-as-it-is.c2ln", "login_failed"),
        ('{"access_token": "a-token-as-it-is", "token_type": "Bearer"}', "no_id_token"),
    ],
)
def test_what_may_be_a_token_is_not_shown(
    stage: Stage, doctor: Doctor, secret: Path, answer: str, cause: str
) -> None:
    async def token(_: web.Request) -> web.Response:
        return web.Response(text=answer)

    as_tsidp(stage, "alice")
    stage.at.overrides["/token"] = token
    with whole(stage):
        doctor.run("--login")
    assert (doctor.trusts[3]["status"], doctor.trusts[3]["cause"]) == ("failed", cause)
    assert "a-token-as-it-is" not in str(doctor.trusts) + doctor.err


def test_a_wrong_secret_is_found_by_a_login(stage: Stage, doctor: Doctor, secret: Path) -> None:
    as_tsidp(stage, "alice")
    secret.write_text("0" * 64)
    with whole(stage):
        doctor.run("--login")
    assert (doctor.trusts[3]["status"], doctor.trusts[3]["cause"]) == ("failed", "secret_wrong")
    assert "OIDC_CLIENT_SECRET" in doctor.trusts[3]["mend"]


def test_without_the_secret_a_login_ends_where_it_is_asked_for(
    stage: Stage, doctor: Doctor
) -> None:
    as_tsidp(stage, "alice")
    with whole(stage):
        doctor.run("--login")
    assert doctor.trusts[3]["cause"] == "secret_not_checked"
    assert "--client-secret-file" in doctor.trusts[3]["mend"]


def test_a_tagged_device_signs_nobody_in(
    stage: Stage, doctor: Doctor, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged = next(person for person in people.EVERYONE.values() if person.tagged)
    as_tsidp(stage, tagged.name)
    with whole(stage):
        doctor.run("--login")
    assert (doctor.trusts[3]["status"], doctor.trusts[3]["cause"]) == ("failed", "tagged_device")


def test_a_wrong_secret_shows_without_a_login_where_the_issuer_looks_at_it_first(
    stage: Stage, doctor: Doctor, secret: Path
) -> None:
    """As many do; tsidp looks at the code first, and nothing shows."""
    with whole(stage):
        doctor.run()
    assert doctor.trusts[3]["cause"] == "secret_not_checked"

    stage.at.overrides["/token"] = denied_at_token('{"error": "invalid_client"}')
    with whole(stage):
        doctor.run()
    assert (doctor.trusts[3]["status"], doctor.trusts[3]["cause"]) == ("failed", "secret_wrong")

    stage.discovery["claims_supported"] = ["sub", "email"]
    stage.at.overrides["/token"] = denied_at_token('{"error": "invalid_grant"}')
    with whole(stage):
        doctor.run()
    assert doctor.trusts[3]["status"] == "ok"
