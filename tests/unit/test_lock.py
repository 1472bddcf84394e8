"""The pinned dependencies are whole: every file has its hashes, names no index, and fits pyproject.toml."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements"
FILES = ("run", "build", "dev", "tools")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = {
    "run": PROJECT["project"]["dependencies"],
    "build": PROJECT["build-system"]["requires"],
    "dev": [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]],
    "tools": (LOCKS / "tools.in").read_text().split(),
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def entries(name):
    """{package: (version, marker, hashes)}."""
    text = (LOCKS / f"{name}.txt").read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        parsed = Requirement(requirement)
        [pin] = parsed.specifier
        assert pin.operator == "==", line
        assert canonicalize_name(parsed.name) not in found, "one version for all"
        found[canonicalize_name(parsed.name)] = pin.version, parsed.marker, hashes
    return found


@pytest.mark.parametrize("name", FILES)
def test_nothing_but_pins_and_hashes(name):
    text = (LOCKS / f"{name}.txt").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=sha256:)", text, re.MULTILINE)
    for package, (_, _, hashes) in entries(name).items():
        assert hashes, package
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", h) for h in hashes), package


@pytest.mark.parametrize("name", FILES)
def test_what_is_asked_for_is_pinned_within_its_bounds(name):
    pinned = entries(name)
    for text in WANTED[name]:
        wanted = Requirement(text)
        assert any(s.operator == ">=" for s in wanted.specifier), f"{text}: no lower bound"
        version, _, _ = pinned[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version), text


@pytest.mark.parametrize("name", ["run", "build"])
def test_what_ships_is_what_is_tested(name):
    tested = entries("dev")
    assert {k: (tested[k][0], set(tested[k][2])) for k in entries(name)} == {
        k: (version, set(hashes)) for k, (version, _, hashes) in entries(name).items()
    }


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_of_the_daemon_is_there_on_linux(python, machine):
    where = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
    }
    left_out = {name for name, (_, marker, _) in entries("run").items() if marker and not marker.evaluate(where)}
    assert not left_out


def test_the_builds_requirement_is_written_twice_alike():
    assert (LOCKS / "build.in").read_text().split() == WANTED["build"]


def test_the_image_and_make_install_only_what_is_pinned():
    for file in ("Dockerfile", "Makefile"):
        steps = (ROOT / file).read_text().replace("\\\n", " ")
        installs = re.findall(r"pip install ([^\n&]*)", steps)
        assert installs
        for options in installs:
            assert "--require-hashes" in options or "--no-deps" in options, options


AUDIT = importlib.util.spec_from_file_location("audit", LOCKS / "audit.py")


@pytest.mark.parametrize(
    ("report", "status", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "f: 1 packages, no advisories"),
        (
            [
                {"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]},
                {"name": "b", "skip_reason": "?"},
            ],
            1,
            "f: a 1: X-1, fixed in 2",
        ),
        ([{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": []}]}], 1, "no version yet"),
        (
            [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}],
            3,
            "for 1 of 2 packages",
        ),
        (None, 3, "f: cannot reach the advisory service"),
    ],
)
def test_an_audit_that_looked_nothing_up_is_not_clean(report, status, said, monkeypatch, capsys):
    audit = importlib.util.module_from_spec(AUDIT)
    AUDIT.loader.exec_module(audit)
    monkeypatch.setattr(audit, "pip_audit", lambda file: report)
    assert audit.main(["f"]) == status
    assert said in capsys.readouterr().out
