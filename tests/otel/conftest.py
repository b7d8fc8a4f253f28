"""Makes the fakes of the actors and of their Batch API importable."""

import sys
from pathlib import Path

import pytest

_ACTORS = Path(__file__).parent.parent / "actors"
sys.path += [str(_ACTORS), str(_ACTORS / "batch_api"), str(Path(__file__).parent.parent / "doors")]


@pytest.fixture
def telemetry():
    from tracing import Telemetry

    return Telemetry()
