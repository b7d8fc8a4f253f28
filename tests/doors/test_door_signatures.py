"""The methods of both doors have the names, the arguments and the defaults of `Troupe`."""

import inspect
import re

import pytest

import callsheet.bulk
from callsheet import aio, sync
from callsheet.actors import Troupe
from callsheet.aio import AsyncioTroupe
from callsheet.bulk import BulkRun
from callsheet.sync import BlockingTroupe

ONLY_UNDER_TRIO = {
    "first_stage",  # refs belong to Trio's thread
    "submit",  # its slot does, too
    "submit_nowait",
}
METHODS = {
    name
    for name, value in vars(Troupe).items()
    if not name.startswith("_") and inspect.isfunction(value)
} - ONLY_UNDER_TRIO


def arguments(function):
    """Return the parameters with their kinds, defaults and annotations, without modules."""
    return [
        (it.name, it.kind, it.default, re.sub(r"\b[a-z]\w*\.", "", str(it.annotation)))
        for it in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("door", [AsyncioTroupe, BlockingTroupe])
def test_a_door_has_the_methods_of_a_troupe(door):
    own = {name for name, it in vars(door).items() if inspect.isfunction(it) and name[0] != "_"}
    assert own == METHODS
    assert len(METHODS) > 12


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("door", [AsyncioTroupe, BlockingTroupe])
def test_a_method_has_the_arguments_of_that_of_a_troupe(door, name):
    assert arguments(getattr(door, name)) == arguments(getattr(Troupe, name))
    is_async = inspect.iscoroutinefunction(getattr(Troupe, name))
    assert inspect.iscoroutinefunction(getattr(door, name)) is (is_async and door is AsyncioTroupe)


@pytest.mark.parametrize("module", [aio, sync])
@pytest.mark.parametrize("name", ["open_builtin_provider", "open_endpoint", "open_troupe"])
def test_a_function_has_the_arguments_of_that_of_callsheet(module, name):
    assert arguments(getattr(module, name)) == arguments(getattr(callsheet, name))


@pytest.mark.parametrize("module", [aio, sync])
@pytest.mark.parametrize("name", ["bulk", "bulk_dataframe"])
def test_a_bulk_run_has_the_arguments_of_that_of_callsheet(module, name):
    assert arguments(getattr(module, name)) == arguments(getattr(callsheet.bulk, name))


@pytest.mark.parametrize("run", [aio.AsyncioBulkRun, sync.BlockingBulkRun])
def test_a_run_has_the_names_of_a_bulk_run(run):
    of_the_engine = {"finish", "leave", "wait_finished"}
    ours = {name for name in vars(run) if name[0] != "_"}
    assert ours == {name for name in vars(BulkRun) if name[0] != "_"} - of_the_engine | {
        "is_finished"  # an attribute there
    }
    for name in ours:
        is_async = inspect.iscoroutinefunction(getattr(BulkRun, name, None))
        assert inspect.iscoroutinefunction(getattr(run, name)) is (
            is_async and run is aio.AsyncioBulkRun
        )
