"""What is built: the plain wheel, or where it is asked for the compiled one, or an error."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hatchling.build import get_requires_for_build_wheel

from hatch_build import ASKED, ROOT, NotCompiledError, compiled, copy_for_c, wanted, without_slots
from proxy.version import is_compiled

ONE = "proxy.limits"  # it has dataclasses that are C's, and little else


def build(folder: Path, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run hatchling as pip and the Dockerfile do."""
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder],
        cwd=ROOT,
        env=os.environ | {ASKED: "0"} | environment,
        capture_output=True,
        text=True,
    )


def test_the_wheel_is_plain_python_unless_it_is_asked_to_be_compiled(tmp_path: Path) -> None:
    done = build(tmp_path, "wheel")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]
    sources = {path.relative_to(ROOT) for path in (ROOT / "proxy").rglob("*.py")}
    assert {name for name in names if name.suffix == ".py"} == sources
    assert [name for name in names if name.suffix in (".so", ".pxd", ".c")] == []


def test_the_source_distribution_has_what_compiling_needs(tmp_path: Path) -> None:
    done = build(tmp_path, "sdist")
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as tar:
        names = {Path(*Path(name).parts[1:]) for name in tar.getnames()}
    declarations = {path.relative_to(ROOT) for path in (ROOT / "proxy").rglob("*.pxd")}
    assert declarations
    assert {Path("hatch_build.py"), Path("requirements/compile.lock")} | declarations <= names
    assert [name for name in names if name.suffix in (".so", ".c")] == []


def test_pip_gets_what_compiling_needs_where_it_is_asked_for_as_it_is_locked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a build of pip's own (PEP 517), where nothing is but what is asked for."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(ASKED, "0")
    assert get_requires_for_build_wheel() == []
    monkeypatch.setenv(ASKED, "1")
    required = get_requires_for_build_wheel()
    assert [each.partition("==")[0] for each in required] == ["cython", "setuptools"]
    locked = (ROOT / "requirements/compile.lock").read_text()
    assert [each for each in required if f"\n{each} " not in locked] == []


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"CC": "no-such-compiler"}, "there is no no-such-compiler: apt-get install gcc"),
        ({ASKED: "yes"}, f"{ASKED} is 'yes'; it can be 0 or 1"),
    ],
)
def test_who_asks_and_cannot_have_it_gets_an_error_and_no_wheel(
    environment: Mapping[str, str], says: str, tmp_path: Path
) -> None:
    done = build(tmp_path, "wheel", **{ASKED: "1", **environment})
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_cython_the_error_names_the_lock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "Cython.Build", None)
    with pytest.raises(
        NotCompiledError, match=r"compiling needs Cython.*requirements/compile\.lock"
    ):
        compiled([ONE], tmp_path)


def test_without_pythons_headers_the_error_names_their_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    with pytest.raises(NotCompiledError, match=r"no .*/Python\.h: apt-get install python3-dev"):
        compiled([ONE], tmp_path)


@pytest.mark.parametrize(
    ("decorator", "blanked"),
    [
        (b"@dataclass(slots=True)", b"@dataclass(          )"),
        (b"@dataclass(frozen=True, slots=True)", b"@dataclass(frozen=True,           )"),
        (b"@dataclass(slots=True, eq=False)", b"@dataclass(            eq=False)"),
    ],
)
def test_slots_are_taken_out_where_a_class_is_declared_as_c(
    decorator: bytes, blanked: bytes
) -> None:
    source = b"%b\nclass One:\n    slots: int = 0\n\n@dataclass(slots=True)\nclass Two: ...\n"
    found = without_slots(source % decorator, "cdef class One:\n    cdef int slots\n")
    assert found == source % blanked
    ast.parse(found)


def test_lines_stay_where_they_are(tmp_path: Path) -> None:
    """Or the lines that a traceback shows would be others."""
    copy_for_c(tmp_path)
    for module in wanted():
        path = Path(*module.split(".")).with_suffix(".py")
        copy, source = (tmp_path / path).read_bytes(), (ROOT / path).read_bytes()
        assert [len(line) for line in copy.splitlines()] == [
            len(line) for line in source.splitlines()
        ]


def test_every_declaration_is_of_a_module_that_is_compiled() -> None:
    declared = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "proxy").rglob("*.pxd")
    }
    assert declared <= set(wanted())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_same_source_makes_the_same_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    sums = set()
    for name in ("one", "another, longer"):
        folder = tmp_path / name
        folder.mkdir()
        (library,) = compiled([ONE], folder)
        sums.add(hashlib.sha256((folder / library).read_bytes()).hexdigest())
    assert len(sums) == 1


def test_in_place_all_is_compiled_or_nothing() -> None:
    """``is_compiled`` looks at one of them."""
    libraries = {
        ".".join(path.relative_to(ROOT).parts).partition(".cpython-")[0]
        for path in (ROOT / "proxy").rglob("*.so")
    }
    assert libraries == (set(wanted()) if is_compiled() else set())
