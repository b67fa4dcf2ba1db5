"""Folders of the proxy's container for what its flags name: ``--mount`` of ``inject``.

The whole volume is mounted and never a part (``subPath``), because a part is not updated when what
is behind it changes, and the proxy follows its files.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

PREFIX: Final = "auth-proxy-mount-"  # of the volumes' names

_KINDS: Final = {
    "configmap": lambda name: {"configMap": {"name": name}},
    "secret": lambda name: {"secret": {"secretName": name}},
    "claim": lambda name: {"persistentVolumeClaim": {"claimName": name}},
}
_MOUNT: Final = re.compile(r"(\w+)/([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?):(/.*)")


@dataclass(frozen=True, slots=True)
class Mount:
    """A ConfigMap, Secret or PersistentVolumeClaim of the pod's namespace, at ``folder``."""

    kind: str
    name: str
    folder: str

    @property
    def written(self) -> bool:
        return self.kind == "claim"

    def volume(self, number: int) -> dict[str, Any]:
        return {"name": f"{PREFIX}{number}", **_KINDS[self.kind](self.name)}

    def mount(self, number: int) -> dict[str, Any]:
        mount = {"name": f"{PREFIX}{number}", "mountPath": self.folder}
        return mount if self.written else mount | {"readOnly": True}


def parse_mounts(words: Sequence[str], taken: Sequence[str], problems: list[str]) -> list[Mount]:
    """Return what ``words`` ask for (KIND/NAME:FOLDER); what is wrong is added to ``problems``.

    No folder may be, hold or be inside another, or one of ``taken``.
    """
    mounts: list[Mount] = []
    for word in words:
        found = _MOUNT.fullmatch(word)
        if not found or found[1] not in _KINDS or posixpath.normpath(found[3]) != found[3]:
            problems.append(
                f"--mount {word!a}: is not KIND/NAME:FOLDER, with configmap, secret or claim for "
                "KIND and a path from / on for FOLDER"
            )
            continue
        mount = Mount(found[1], found[2], found[3])
        problems += [
            f"--mount {word!a}: is in the way of {folder}; choose another"
            for folder in (*taken, *(other.folder for other in mounts))
            if posixpath.commonpath((folder, mount.folder)) in {folder, mount.folder}
        ]
        mounts.append(mount)
    return mounts
