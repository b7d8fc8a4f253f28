"""One gateway for the slow tests of a worker that change nothing in it."""

import pytest
from served import served


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    with served(tmp_path_factory.mktemp("gateway")) as running:
        yield running
