"""Makes the fakes of the actors and of the doors importable, and finds Prometheus."""

import shutil
import sys
from pathlib import Path

import pytest

for room in ("actors", "doors"):
    sys.path.append(str(Path(__file__).parent.parent / room))


@pytest.fixture
def prometheus_installed():
    """Skip the test where the programs of Prometheus are missing."""
    missing = [name for name in ("promtool", "prometheus") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"there is no {missing[0]}: it is in Debian's package prometheus")
