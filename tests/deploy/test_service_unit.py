"""The unit of systemd: systemd reads it, it is locked up, and it waits for the drain."""

import re
import subprocess
import sys

from deployed import DEPLOY, example, program

UNIT = DEPLOY / "systemd" / "callsheet.service"
PROGRAM = "/opt/callsheet/bin/callsheet"
EXPOSED = "15"  # of 100, by the weights of systemd; without any hardening it is 96


def values(name):
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def analyze(*arguments):
    """Run systemd-analyze, and return what it printed if it agrees."""
    command = program("systemd-analyze", comes_from="Debian's package systemd")
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_systemd_understands_every_line(tmp_path):
    """It warns of unknown settings and values, and ends with 0 nevertheless."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAM, sys.executable))  # a program that exists
    warnings = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert [line for line in warnings.splitlines() if UNIT.name in line] == []


def test_the_service_is_exposed_to_little():
    analyze("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSED}", UNIT)


def test_the_service_has_the_time_to_drain_and_is_not_restarted_in_vain():
    assert float(*values("TimeoutStopSec")) > example()["gateway"]["drain_s"]
    assert values("KillSignal") == ["SIGTERM"]
    assert values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert values("RestartPreventExitStatus") == ["2"]  # the status of a wrong settings file


def test_the_state_of_the_example_is_where_the_service_may_write():
    (name,) = values("StateDirectory")
    settings = example()
    paths = (settings["keys"]["store"], settings["ledger"]["path"], settings["cache"]["path"])
    assert [path for path in paths if not path.startswith(f"/var/lib/{name}/")] == []
    assert values("WorkingDirectory") == [f"/var/lib/{name}"]
    assert values("ExecStart") == [f"{PROGRAM} serve /etc/callsheet/callsheet.toml"]
