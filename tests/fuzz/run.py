"""Runs fuzz targets under atheris, guided by what of the proxy they reach.

    make fuzz                                       # every target, a minute in all
    make fuzz FUZZ_SECONDS=3600                     # an hour in all
    .venv/bin/python -m tests.fuzz.run 60 jwks      # a minute for these

Each target begins from tests/fuzz/corpus and from what earlier runs found worth keeping (.fuzz,
not part of the tree). An input that fails its target is written to tests/fuzz/regressions, where
`make test` replays it for ever: mend what it shows, and commit both.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.targets import CORPUS, FOLDER, REGRESSIONS, TARGETS, Target

ROOT: Final = FOLDER.parents[1]
KEPT: Final = ROOT / ".fuzz"
MAX_BYTES: Final = 4096  # longer inputs reach nothing else, and take long
INPUT_SECONDS: Final = 10  # whatever takes longer is a finding
_PROGRESS: Final = re.compile(r"^(?:#\d+\t|INFO: Instrumenting).*\n", re.MULTILINE)
_EXECUTIONS: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own and print a line; return whether it held."""
    kept, failed = KEPT / name, KEPT / f"{name}.failed"
    kept.mkdir(parents=True, exist_ok=True)
    failed.mkdir(exist_ok=True)
    program = [
        *(sys.executable, "-m", "tests.fuzz.run", "--here", name, str(kept), str(CORPUS / name)),
        f"-artifact_prefix={failed}/",
        f"-dict={_dictionary(name, TARGETS[name])}",
        f"-max_len={MAX_BYTES}",
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS}",
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        program,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    executions = _EXECUTIONS.search(done.stderr)
    found = [_keep_for_ever(name, path) for path in sorted(failed.iterdir())]
    held = not done.returncode and not found
    sys.stdout.write(
        f"{name:14}{executions[1] if executions else '?':>12}  {'' if held else 'FAILED'}\n"
    )
    sys.stdout.flush()
    if not held:
        sys.stderr.write(_PROGRESS.sub("", done.stdout + done.stderr)[-6000:])
        sys.stderr.writelines(f"{path.relative_to(ROOT)}\n" for path in found)
    return held


def _keep_for_ever(name: str, path: Path) -> Path:
    kept = REGRESSIONS / name / path.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    return path.rename(kept)


def _dictionary(name: str, target: Target) -> Path:
    """Write the target's words in libFuzzer's form."""
    path = KEPT / f"{name}.dict"
    words = ["".join(f"\\x{byte:02x}" for byte in word.encode()) for word in target.words]
    path.write_text("".join(f'"{word}"\n' for word in words))
    return path


def fuzz_here(name: str, arguments: list[str]) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    import atheris

    for module in [m for m in sys.modules if m.split(".")[0] in {"proxy", "yaml"}]:
        del sys.modules[module]  # they were imported for their names; now they are to be watched
    for module in [m for m in sys.modules if m.startswith("tests.")]:
        del sys.modules[module]
    with atheris.instrument_imports(include=["proxy", "yaml"]):
        from tests.fuzz import targets
    atheris.Setup([name, *arguments], targets.TARGETS[name].run)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--here"]:
        fuzz_here(arguments[1], arguments[2:])
    seconds, names = int(arguments[0]), arguments[1:] or list(TARGETS)
    held = [fuzz(name, max(1, seconds // len(names))) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
