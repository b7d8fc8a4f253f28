"""Stages of a program's own in the way of a call: the base class, and where they stand."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .explaining import ExplainStage as ExplainStage
    from .explaining import ask_or as ask_or
    from .explaining import choice_without_router as choice_without_router
    from .explaining import limits_without_limiter as limits_without_limiter
    from .explaining import requests_at as requests_at
    from .insertion import STAGE_NAMES as STAGE_NAMES
    from .insertion import Insertion as Insertion
    from .insertion import StageChain as StageChain
    from .insertion import StageName as StageName
    from .insertion import insert as insert
    from .stage import Stage as Stage
    from .texts import replace_text as replace_text
