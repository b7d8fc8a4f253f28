"""Makes the fakes of other rooms importable."""

import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent.parent
sys.path += [str(_TESTS / room) for room in ("actors", "actors/batch_api", "bulk", "doors")]


@pytest.fixture
def telemetry():
    from tracing import Telemetry

    return Telemetry()
