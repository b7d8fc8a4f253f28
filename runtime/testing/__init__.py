"""A test kit for actors: virtual time, repeatable orders, probes, faults, and a check of R9.

    async def scenario() -> None:
        async with open_test_runtime() as runtime:
            probe = Probe()
            probe.answer(Greet, "hello")
            ref = await runtime.spawn("greeter", probe.actor)
            assert await ref.ask(Greet("Ada"), timeout=60) == "hello"


    run_virtual(scenario, seed=7)

The kit needs no test framework. With pytest-trio, R9 is checked at the end of each test that uses
this fixture; with ``autojump_clock`` as well, the test runs in virtual time:

    @pytest.fixture
    async def runtime():
        async with open_test_runtime() as runtime:
            yield runtime
"""

from .conservation import check_conservation, open_test_runtime
from .faults import Faulty, InjectedFault
from .probe import Probe
from .virtual import run_virtual

__all__ = [
    "Faulty",
    "InjectedFault",
    "Probe",
    "check_conservation",
    "open_test_runtime",
    "run_virtual",
]
