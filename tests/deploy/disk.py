"""A rendered pod's container as a command line on this machine: its volumes are folders here.

What it names must be mounted, as under a root file system that is read-only: a path that is not
stays what it was, and is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.deploy.helm import Object, of_kind


class Disk:
    """A pod's volumes below ``folder``: ConfigMaps as rendered, Secrets as given, the rest empty.

    ``arguments`` are the container's, with the variables that the kubelet would put in.
    """

    def __init__(
        self, folder: Path, documents: list[Object], spec: Object, secrets: Mapping[str, str]
    ) -> None:
        self._folder = folder
        (container,) = (
            c
            for c in [*spec.get("initContainers", []), *spec["containers"]]
            if c["name"] == "auth-proxy"
        )
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        self.mounts: dict[str, Path] = {}
        for mount in container["volumeMounts"]:
            assert "subPath" not in mount, "a change would never be seen"
            self.mounts[mount["mountPath"]] = folder / mount["name"]
            self._fill(volumes[mount["name"]], documents, secrets)
        known = {e["name"] for e in container.get("env", []) if "fieldRef" in e["valueFrom"]}
        self.arguments = [self._here(argument, known) for argument in container["args"]]

    def path(self, name: str) -> Path:
        """Return where a path of the container is here."""
        for mounted, folder in self.mounts.items():
            if name == mounted or name.startswith(f"{mounted}/"):
                return folder / name.removeprefix(mounted).lstrip("/")
        return Path(name)

    def update(self, volume: str, files: Mapping[str, str]) -> None:
        """Put ``files`` into a volume as the kubelet does: a folder of their own, and a link to it.

        kubernetes/pkg/volume/util/atomic_writer.go.
        """
        directory = self._folder / volume
        version = directory / f"..{len(list(directory.iterdir()))}"
        version.mkdir(parents=True)
        for name, content in files.items():
            (version / name).write_text(content)
            if not (directory / name).is_symlink():
                (directory / name).symlink_to(f"..data/{name}")
        (directory / "..data_tmp").symlink_to(version.name)
        (directory / "..data_tmp").replace(directory / "..data")

    def _fill(self, volume: Object, documents: list[Object], secrets: Mapping[str, str]) -> None:
        (self._folder / volume["name"]).mkdir(parents=True)
        if "configMap" in volume:
            content = of_kind(documents, "ConfigMap", volume["configMap"]["name"])["data"]
            self.update(volume["name"], content)
        elif "secret" in volume:
            self.update(volume["name"], secrets)

    def _here(self, argument: str, variables: set[str]) -> str:
        def value(found: re.Match[str]) -> str:
            return f"value-of-{found[1]}" if found[1] in variables else found[0]

        flag, equals, path = re.sub(r"\$\((\w+)\)", value, argument).partition("=")
        return f"{flag}{equals}{self.path(path)}" if path.startswith("/") else flag + equals + path
