"""No test of a door leaves a thread behind."""

import pytest
from door_fakes import open_threads


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not open_threads()
