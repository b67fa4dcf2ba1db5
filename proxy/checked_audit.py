"""What keeps an audit from starting, found without starting one: nothing is made and nothing sent.

``serve`` and ``check-config`` ask the same questions, so they refuse the same in the same words.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from proxy.audit.log_file import refuse_pipe
from proxy.audit.policy_file import InvalidPolicy, parse_policy
from proxy.config.files import CheckAudit
from proxy.credentials.kubeconfig import webhook_problems_of
from proxy.files import MAX_BYTES, explain

STDOUT: Final = "-"


def _policy_problems(content: bytes) -> list[str]:
    """Return all that is wrong with an audit policy."""
    if len(content) > MAX_BYTES:
        return [f"is larger than {MAX_BYTES} bytes"]
    try:
        parse_policy(content)
    except InvalidPolicy as error:
        return list(error.problems)
    return []


def _log_problems(path: Path) -> list[str]:
    """Return why the audit log could not be opened, rotated and appended to."""
    if str(path) == STDOUT:
        return []
    try:
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


AUDIT_CHECKS: Final = CheckAudit(_policy_problems, webhook_problems_of, _log_problems)
# Where an init container runs, the folder of the log need not be.
AUDIT_CHECKS_BEFOREHAND: Final = AUDIT_CHECKS._replace(log=CheckAudit().log)
