"""Large packages, imported by the first test that uses them.

Each worker imports every module of tests, and few workers run a test of an SDK or of pandas. To
import the SDKs of OpenAI and Anthropic takes 1.5 seconds of work.
"""

from importlib import import_module
from importlib.util import find_spec

import pytest


class LatePackage:
    """Stands for a package, which it imports when a public attribute of it is used.

    Args:
        name: of the package.
    """

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        if attribute.startswith("_"):  # pytest looks for some while it collects
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


def import_when_used(name):
    """Return a package to import later, or skip the module of tests if it is not installed."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return LatePackage(name)
