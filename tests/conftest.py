"""What every test gets: a quiet log."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def log():
    """The events logged during the test, as dictionaries."""
    with structlog.testing.capture_logs() as events:
        yield events
