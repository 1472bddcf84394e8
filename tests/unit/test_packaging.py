"""What is delivered beside the package: image, unit file, CI entry, import contracts, carbon's example files."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from ingestd import __version__
from ingestd.storage.schema import DEFAULT, load_rules

ROOT = Path(__file__).parents[2]


def run(*command, **options):
    """The finished process; its output is shown where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_image_passes_hadolint(require, monkeypatch):
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"])
    run(require("hadolint"), str(ROOT / "Dockerfile"))


def test_the_image_runs_without_root_and_checks_its_health():
    steps = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 10001$", steps, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*/health", steps, re.MULTILINE)


def test_the_images_pip_steps_work_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CFLAGS", "-O0")  # the compiler is to be done soon, not its work to be fast
    source, opt = tmp_path / "source", tmp_path / "opt"
    source.mkdir()
    first = (ROOT / "Dockerfile").read_text().replace("\\\n", "").partition("\nFROM ")[0]
    for line in first.splitlines():
        if line.startswith("COPY "):
            *names, to = line.split()[1:]
            for name in names:
                files = run("git", "ls-files", "-z", name, cwd=ROOT).stdout.split("\0")
                for file in filter(None, files):
                    kept = source / to / (file if (ROOT / name).is_file() else Path(file).relative_to(name))
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_bytes((ROOT / file).read_bytes())
        elif line.startswith("RUN "):
            steps = line.removeprefix("RUN ").replace("/opt/", f"{opt}/").replace("python -m", f"{sys.executable} -m")
            run("sh", "-c", steps, cwd=source)
    target = opt / "ingestd"
    told = run(str(target / "bin" / "ingestd"), "--version", cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert __version__ in told.stdout
    run(str(target / "bin" / "python"), "-c", "import ingestd.app", cwd=tmp_path)
    assert "No broken requirements" in run(str(target / "bin" / "pip"), "check").stdout


UNITS = ("ingestd", "ingestd-relay", "ingestd-query")


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit(name, require, tmp_path):
    unit = tmp_path / f"{name}.service"
    unit.write_text((ROOT / "conf" / unit.name).read_text())
    done = run(require("systemd-analyze"), "verify", str(unit))
    assert unit.name not in done.stdout + done.stderr


def test_the_units_have_one_sandbox():
    own = r"#.*|Description=.*|ExecStart=.*|StateDirectory.*"
    texts = [(ROOT / "conf" / f"{name}.service").read_text().splitlines() for name in UNITS]
    daemon, relay, query = ([line for line in text if not re.fullmatch(own, line)] for text in texts)
    assert daemon == relay == query


def test_shellcheck_passes_the_ci_entry(require):
    run(require("shellcheck"), str(ROOT / ".ci" / "run"))


def test_the_ci_entry_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_example_rules_give_the_built_in_schema():
    rules = load_rules(ROOT / "conf" / "storage-schemas.conf", ROOT / "conf" / "storage-aggregation.conf")
    assert rules.schema("a.b") == DEFAULT
    assert rules.schema("a.count").method == "sum"


def test_every_package_has_its_import_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    held = {m for contract in project["tool"]["importlinter"]["contracts"] for m in contract.get("source_modules", ())}
    floors = {f"ingestd.{p.parent.name}" for p in (ROOT / "ingestd").glob("*/__init__.py")}
    modules = {f"ingestd.{p.stem}" for p in (ROOT / "ingestd").glob("*.py")} - {"ingestd.__init__"}
    assert floors | modules - {"ingestd.app", "ingestd.build", "ingestd.cli", "ingestd.process"} <= held


def test_the_module_is_the_command():
    assert __version__ in run(sys.executable, "-m", "ingestd.cli", "--version").stdout


@pytest.mark.parametrize("flag", ["--statsd", "--opentsdb"])
def test_what_is_not_served_is_refused_plainly(flag):
    done = subprocess.run(
        [sys.executable, "-m", "ingestd.cli", "serve", flag, "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"{flag}: " in done.stderr
