"""The files of deploy/ that tests read, and where a program that checks them is."""

import shutil
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKER = DEPLOY / "docker"
SETTINGS = DEPLOY / "gateway" / "callsheet.toml"
ENVIRONMENT = DEPLOY / "gateway" / "environment.example"
PORT = "4000"


def example():
    """The settings of the example."""
    return tomllib.loads(SETTINGS.read_text())


def program(name, *, comes_from):
    """The path of a program; skip the test where it is missing."""
    found = shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    if found is None:
        pytest.skip(f"there is no {name}: it is in {comes_from}")
    return found
