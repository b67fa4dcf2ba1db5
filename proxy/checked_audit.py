"""What keeps an audit or recordings from starting, found out with nothing made and nothing sent.

``serve``, ``check-config`` and ``doctor`` ask the same questions, so they refuse the same in the
same words. What a question needs is loaded when it is asked: most who serve have no audit.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from proxy.config.files import CheckAudit
from proxy.files import MAX_BYTES, explain

STDOUT: Final = "-"


def _policy_problems(content: bytes) -> list[str]:
    """Return all that is wrong with an audit policy."""
    if len(content) > MAX_BYTES:
        return [f"is larger than {MAX_BYTES} bytes"]
    from proxy.audit.policy_file import InvalidPolicy, parse_policy

    try:
        parse_policy(content)
    except InvalidPolicy as error:
        return list(error.problems)
    return []


def _webhook_problems(content: bytes, path: Path) -> list[str]:
    """Return all that is wrong with the kubeconfig of an audit webhook."""
    from proxy.credentials.kubeconfig import webhook_problems_of

    return webhook_problems_of(content, path)


def _log_problems(path: Path) -> list[str]:
    """Return why the audit log could not be opened, rotated and appended to."""
    if str(path) == STDOUT:
        return []
    from proxy.audit.log_file import refuse_pipe

    try:
        if not path.parent.exists():
            return [f"cannot be written to: there is no folder {str(path.parent)!a}; make it"]
        next(path.parent.iterdir(), None)  # rotated files are looked for
        refuse_pipe(path)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC))
        except FileNotFoundError:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        return [f"cannot be written to: {explain(error)}"]
    return []


def _recordings_problems(directory: Path) -> list[str]:
    """Return why the directory could not be made, where it is not there, and written to."""
    try:
        there = next(p for p in (directory, *directory.parents) if p.exists() or p.is_symlink())
        with tempfile.TemporaryFile(dir=there):
            return []
    except OSError as error:
        return [f"cannot be written to: {explain(error)}"]


def policy_warnings(path: Path | None) -> list[str]:
    """Return what ``serve`` would log of a policy that it can use."""
    if path is None:
        return []
    from proxy.audit.policy_file import parse_policy

    return [f"--audit-policy-file {path}: {line}" for line in parse_policy(path.read_bytes())[1]]


AUDIT_CHECKS: Final = CheckAudit(
    _policy_problems, _webhook_problems, _log_problems, _recordings_problems
)
# Where an init container runs, the folders of log and recordings need not be.
AUDIT_CHECKS_BEFOREHAND: Final = CheckAudit(_policy_problems, _webhook_problems)
