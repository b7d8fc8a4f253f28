"""The jobs of schedulers: each starts workers of a shared run, which get the signals themselves."""

import os
import re
import shutil
import stat
import subprocess

import pytest
import yaml
from deployed import DEPLOY, DOCKER, program

from callsheet.cli.work import work

SLURM = DEPLOY / "scale" / "slurm-array.sh"
KUBERNETES = DEPLOY / "scale" / "kubernetes-job.yaml"
URL = "valkey://:hunter2@cache:6379"
STAND_IN = """#!/bin/sh
printf '%s\\n' "$$" "$OPENAI_API_KEY" "$@"
"""


@pytest.fixture
def submitted(tmp_path):
    """Run the script as Slurm does, with a stand-in for callsheet; return what that was given."""
    stand_in = tmp_path / "bin" / "callsheet"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)

    def run(*arguments, **environ):
        usual = {
            "PATH": f"{stand_in.parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "SLURM_TMPDIR": str(tmp_path / "disk"),
        }
        with subprocess.Popen(
            [program("bash", comes_from="the package bash"), SLURM, *arguments],
            env=usual | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            printed, problem = process.communicate(timeout=30)
            return process, printed.splitlines(), problem

    return run


def test_a_task_of_slurm_becomes_a_worker_with_a_journal_on_the_disk_of_the_node(
    submitted, tmp_path
):
    environment = tmp_path / ".config" / "callsheet" / "environment"
    environment.parent.mkdir(parents=True)
    environment.write_text(f"CALLSHEET_SHARED_URL='{URL}'\nOPENAI_API_KEY=sk-1\n")
    process, (pid, key, *arguments), _ = submitted("run-7")
    journal = tmp_path / "disk" / f"callsheet-{os.getuid()}"
    assert arguments == ["work", URL, "run-7", "--journal", str(journal)]
    assert int(pid) == process.pid  # it gets SIGTERM, not a shell
    assert key == "sk-1"
    assert stat.S_IMODE(journal.stat().st_mode) == 0o700


def test_a_task_of_slurm_takes_the_environment_that_it_is_given(submitted):
    _, (_, key, *arguments), _ = submitted("r", CALLSHEET_SHARED_URL=URL, OPENAI_API_KEY="sk-2")
    assert (key, arguments[1]) == ("sk-2", URL)


def test_a_task_of_slurm_says_what_is_missing(submitted):
    process, printed, problem = submitted()
    assert (process.returncode, printed) == (1, [])
    assert "usage: sbatch" in problem
    process, printed, problem = submitted("run-7")
    assert (process.returncode, printed) == (1, [])
    assert "CALLSHEET_SHARED_URL: set it in" in problem


def test_the_script_of_slurm_is_clean_and_lets_workers_drain():
    text = SLURM.read_text()
    options = dict(re.findall(r"^#SBATCH --(\S+?)(?:=(.*))?$", text, re.MULTILINE))
    name, seconds = options["signal"].split("@")
    assert name == "B:TERM"  # to the process of the script, and not to job steps: it has none
    assert int(seconds) >= 60
    assert "requeue" in options
    subprocess.run(["bash", "-n", SLURM], check=True)
    if (lint := shutil.which("shellcheck")) is not None:
        done = subprocess.run([lint, SLURM], capture_output=True, text=True, check=False)
        assert done.stdout == ""


def test_pods_of_kubernetes_are_workers_that_drain_and_hold_no_secret():
    job = yaml.safe_load(KUBERNETES.read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert "completions" not in spec  # the first worker that ends well ends the job
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 60
    (worker,) = pod["containers"]
    assert worker["args"][0] == "work"
    assert worker["args"][-2:] == ["--journal", "/journal"]
    assert {mount["mountPath"] for mount in worker["volumeMounts"]} == {"/journal", "/tmp"}
    assert {mount["name"] for mount in worker["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    assert all("value" not in one or not one["value"] for one in worker["env"])
    assert spec["podReplacementPolicy"] == "Failed"  # others are refused with a podFailurePolicy
    disruption, refused = spec["podFailurePolicy"]["rules"]
    assert disruption["action"] == "Ignore"
    assert refused == {
        "action": "FailJob",
        "onExitCodes": {"containerName": worker["name"], "operator": "In", "values": [2]},
    }


def test_the_jobs_use_options_that_the_command_has(submitted):
    _, (_, _, *of_slurm), _ = submitted("run-7", CALLSHEET_SHARED_URL=URL)
    job = yaml.safe_load(KUBERNETES.read_text())
    of_pods = job["spec"]["template"]["spec"]["containers"][0]["args"]
    for name, *arguments in (of_slurm, of_pods):
        assert name == "work"
        given = work.make_context(name, arguments).params
        assert given["run"] in ("run-7", "RUN_NAME")
        assert given["journal"] is not None


def test_pods_of_kubernetes_run_as_the_user_of_the_image_and_may_do_little():
    pod = yaml.safe_load(KUBERNETES.read_text())["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    user = re.search(r"^USER (\d+):", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == int(user[1])
    assert pod["securityContext"]["runAsNonRoot"]
    assert worker["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"]
