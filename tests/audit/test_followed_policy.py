"""The audit policy file: a good change counts from then on, a wrong one changes nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from proxy.audit.followed_policy import FollowedPolicy
from proxy.audit.policy import Policy
from proxy.audit.policy_file import InvalidPolicy
from proxy.files import SourceError
from proxy.requestinfo import resolve


def policy(level: str) -> str:
    document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": level}]}
    return json.dumps(document)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(policy("Metadata"))
    return file


def publish(path: Path, content: str) -> None:
    """Replace the file by another one."""
    path.with_suffix(".new").write_text(content)
    path.with_suffix(".new").rename(path)


def remove(path: Path) -> None:
    path.unlink()


def audits(policy: Policy) -> bool:
    return bool(policy.stages("alice", (), resolve(b"GET", b"/version")))


async def test_a_change_is_told_and_in_force(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    followed = FollowedPolicy(path)
    told: list[Policy] = []
    followed.on_change = told.append
    followed.look()
    assert (audits(followed.policy), told) == (True, [])
    publish(path, policy("None"))
    followed.look()
    assert [audits(p) for p in told] == [False]
    assert followed.policy is told[0]
    assert "the audit policy has changed" in caplog.text


@pytest.mark.parametrize("wrong", ["{", policy("Some"), ""])
async def test_what_cannot_be_used_leaves_the_old_one_in_force(
    path: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    followed = FollowedPolicy(path)
    publish(path, wrong)
    followed.look()
    followed.look()
    assert audits(followed.policy)
    assert not followed.healthy
    (failure,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert str(path) in failure.getMessage()
    assert "the policy held stays in force" in failure.getMessage()
    publish(path, policy("None"))
    followed.look()
    assert followed.healthy
    assert not audits(followed.policy)
    assert "can be used again" in caplog.text


async def test_a_file_that_vanishes_is_such_a_mistake(path: Path) -> None:
    followed = FollowedPolicy(path)
    remove(path)
    followed.look()
    assert audits(followed.policy)
    assert not followed.healthy


async def test_a_level_that_is_more_than_there_is_here_is_said_of_each_version(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed = FollowedPolicy(path)
    publish(path, policy("RequestResponse"))
    followed.look()
    assert "the level is taken for Metadata" in caplog.text


async def test_without_a_usable_policy_there_is_no_beginning(path: Path) -> None:
    publish(path, policy("Some"))
    with pytest.raises(InvalidPolicy):
        FollowedPolicy(path)
    remove(path)
    with pytest.raises(SourceError):
        FollowedPolicy(path)
