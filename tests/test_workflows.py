"""The workflows: what they may do, what they run, and that a release is what its tag says."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parent.parent
TEXTS = {path.name: path.read_text() for path in (REPO / ".github" / "workflows").glob("*.yml")}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = {
    f"{name}: {job}": settings
    for name, workflow in WORKFLOWS.items()
    for job, settings in workflow["jobs"].items()
}
VERSION = '__version__ = "{}"\n'


def test_these_are_there():
    assert set(WORKFLOWS) == {"ci.yml", "docs.yml", "release.yml"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_reads_the_repository_and_has_no_secret(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert "secrets." not in TEXTS[name]
    uses = re.findall(r"uses: (.*)", TEXTS[name])
    assert uses
    for action in uses:  # a tag can be moved to another commit
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_jobs_with_an_identity_run_no_command_of_ours():
    trusted = {name: job for name, job in JOBS.items() if "id-token" in job.get("permissions", {})}
    assert set(trusted) == {"docs.yml: deploy", "release.yml: publish"}
    for name, job in trusted.items():
        assert job["environment"], name
        for step in job["steps"]:
            assert "run" not in step, name
            assert "checkout" not in step["uses"], name


def test_nothing_is_published_before_the_checks():
    assert JOBS["release.yml: publish"]["needs"] == ["checks", "build"]
    assert WORKFLOWS["release.yml"][True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}  # "on"


def test_each_python_that_is_promised_is_checked():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    promised = [one.rpartition(" ")[2] for one in project["classifiers"] if "Python :: 3." in one]
    assert JOBS["ci.yml: checks"]["strategy"]["matrix"]["python"] == promised


def test_the_checks_run_the_tests_by_the_command_of_the_readme():
    command = "uv run pytest"
    (block,) = re.findall(rf"^    .*{command}$", (REPO / "README.md").read_text(), re.MULTILINE)
    assert block.strip() == f"pip install uv && {command}"
    assert re.search(rf"^{command}$", (REPO / ".ci" / "run").read_text(), re.MULTILINE)


def test_the_programs_that_are_run_are_there():
    found = {name for text in TEXTS.values() for name in re.findall(r"run: (\.ci/\w+)", text)}
    assert found == {".ci/run", ".ci/lowest", ".ci/package"}
    assert all(os.access(REPO / name, os.X_OK) for name in found)


@pytest.mark.parametrize(
    ("version", "title", "tag", "is_released"),
    [
        ("1.2.3", "## 1.2.3 - 2027-01-31", "v1.2.3", True),
        ("1.2.3", "## 1.2.3 - 2027-01-31", "v1.2.4", False),
        ("1.2.3.dev0", "## 1.2.3 - 2027-01-31", "v1.2.3", False),
        ("1.2.3", "## 1.2.3 (unreleased)", "v1.2.3", False),
        ("1.2.3", "## 1.2.2 - 2027-01-31", "v1.2.3", False),
        ("1.2.3", "## 1x2.3 - 2027-01-31", "v1.2.3", False),
    ],
)
def test_a_tag_is_released_if_it_is_the_version_that_the_changelog_has(
    tmp_path, version, title, tag, is_released
):
    (tmp_path / "src" / "callsheet").mkdir(parents=True)
    (tmp_path / "src" / "callsheet" / "_version.py").write_text(VERSION.format(version))
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{title}\n\n### Added\n")
    (step,) = (step for step in JOBS["release.yml: build"]["steps"] if "name" in step)
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        check=False,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "GITHUB_REF_NAME": tag},
    )
    assert (done.returncode == 0) is is_released, (done.stdout, done.stderr)
