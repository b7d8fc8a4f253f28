"""The ways of running a workload, under the names by which they are compared."""

from collections.abc import Mapping
from typing import Literal, get_args

from ..venue import Way
from .callsheet import callsheet
from .fixed_window import fixed_window
from .sequential import sequential
from .staged import staged

__all__ = ["MODES", "WAYS", "Mode"]

Mode = Literal["sequential", "staged", "fixed_window", "callsheet"]
MODES: tuple[Mode, ...] = get_args(Mode)

WAYS: Mapping[Mode, Way] = {
    "sequential": sequential,
    "staged": staged,
    "fixed_window": fixed_window,
    "callsheet": callsheet,
}
