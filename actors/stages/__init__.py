"""Stages of a program's own in the way of a call: the base class, and where they stand."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .explaining import (
        ExplainStage,
        ask_or,
        choice_without_router,
        limits_without_limiter,
        requests_at,
    )
    from .insertion import STAGE_NAMES, Insertion, StageChain, StageName, insert
    from .stage import Stage
    from .texts import replace_text
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        explaining="ExplainStage ask_or choice_without_router limits_without_limiter requests_at",
        insertion="STAGE_NAMES Insertion StageChain StageName insert",
        stage="Stage",
        texts="replace_text",
    )

__all__ = [
    "STAGE_NAMES",
    "ExplainStage",
    "Insertion",
    "Stage",
    "StageChain",
    "StageName",
    "ask_or",
    "choice_without_router",
    "insert",
    "limits_without_limiter",
    "replace_text",
    "requests_at",
]
