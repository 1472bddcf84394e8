"""Ask pip-audit whether advisories name what the lock files pin.

``python requirements/audit.py FILE…``: exit 0 none do, 1 some do, 3 not all packages could be looked up. The last is
its own answer because pip-audit calls an audit clean that looked nothing up, as behind an index without advisories.
"""

import json
import subprocess
import sys

CLEAN, FOUND, UNKNOWN = 0, 1, 3


def pip_audit(file):
    """pip-audit's report on one file, a list of packages; None where its service cannot be reached."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--format=json", "-r", file]
    done = subprocess.run([*command, "--progress-spinner=off"], capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.stderr.write(done.stderr[-2000:])
        return None


def verdict(file, packages):
    """(exit status, lines to print) of one file's report."""
    if packages is None:
        return UNKNOWN, [f"{file}: cannot reach the advisory service"]
    lines = [
        f"{file}: {p['name']} {p['version']}: {v['id']}, fixed in {', '.join(v['fix_versions']) or 'no version yet'}"
        for p in packages
        for v in p.get("vulns", ())
    ]
    skipped = [p for p in packages if "skip_reason" in p]
    if lines:
        return FOUND, lines
    if skipped:
        return UNKNOWN, [
            f"{file}: cannot reach the advisory service for {len(skipped)} of {len(packages)} packages: "
            f"{skipped[0]['skip_reason']}"
        ]
    return CLEAN, [f"{file}: {len(packages)} packages, no advisories"]


def main(files):
    found = []
    for file in files:
        status, lines = verdict(file, pip_audit(file))
        sys.stdout.write("\n".join(lines) + "\n")
        found.append(status)
    return FOUND if FOUND in found else max(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
