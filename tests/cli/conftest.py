"""The built-in provider in its own process, for tests of the command line."""

from collections.abc import Iterator

import pytest
from provider_process import provider_process


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """Start a provider that responds within some hundredths of a second."""
    with provider_process("--time-scale", "0.02") as base_url:
        yield base_url
