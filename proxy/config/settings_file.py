"""What the YAML file of settings says, as text; loaded where there is one, for YAML is large."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from proxy.config.files import ReadFile
from proxy.config.model import SETTINGS
from proxy.config.report import Given, Report, shown
from proxy.suggestion import did_you_mean


def from_file(file: Given, read_file: ReadFile, report: Report) -> dict[str, Given]:
    """Read the YAML file. Every scalar is taken as it is written, so ``no`` is never a boolean."""
    path = file.texts[-1]
    known = {setting.key: setting for setting in SETTINGS.values() if setting.name != "config"}
    given: dict[str, Given] = {}
    seen: set[str] = set()
    for key_node, value_node in _entries(file, read_file, report):
        where = f"{path}, line {key_node.start_mark.line + 1}"
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        setting = known.get(key)
        if key in seen:
            report.lines.append(f"{key} ({where}): is given twice; keep one")
        elif setting is None:
            hint = did_you_mean(key, list(known))
            report.lines.append(f"{key} ({where}): unknown key{hint}")
        elif (texts := _texts(value_node, setting.declared.repeatable)) is None:
            kind = "a list of texts" if setting.declared.repeatable else "one text"
            report.lines.append(f"{setting.flag} ({where}): must be {kind}")
            report.failed.add(setting.name)
        else:
            given[setting.name] = Given(texts, where)
        seen.add(key)
    return given


def _entries(
    file: Given, read_file: ReadFile, report: Report
) -> Sequence[tuple[yaml.Node, yaml.Node]]:
    """Return the nodes of the top-level mapping; composing builds no objects of the file's."""
    path = file.texts[-1]
    try:
        root = yaml.compose(read_file(Path(path)), Loader=yaml.SafeLoader)
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    except (yaml.YAMLError, RecursionError) as error:
        problem = f"is not YAML: {' '.join(str(error).split())}"
    else:
        if root is None or root.value == "":
            return ()
        if isinstance(root, yaml.MappingNode):
            entries: Sequence[tuple[yaml.Node, yaml.Node]] = root.value
            return entries
        problem = "must be a mapping, with settings as its keys"
    report.lines.append(f"--config {shown(path)} ({file.source}): {problem}")
    return ()


def _texts(node: yaml.Node, repeatable: bool) -> tuple[str, ...] | None:
    """Return the scalars of a list, or the one scalar; None where the file has something else."""
    if repeatable != isinstance(node, yaml.SequenceNode):
        return None
    items = node.value if repeatable else [node]
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        return None
    return tuple(item.value for item in items)
