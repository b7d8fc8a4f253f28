"""The place of the file of a response cache."""

import pytest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "responses.sqlite"
