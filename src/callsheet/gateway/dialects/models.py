"""The lists of models, in the shapes of OpenAI and Anthropic."""

from collections.abc import Iterable
from typing import Literal

from ...actors import Json
from .sse import to_json

_BEGIN = "1970-01-01T00:00:00Z"  # it is not known when a model was made


def model_list(names: Iterable[str], vendor: Literal["openai", "anthropic"]) -> bytes:
    """Return the body of a list of models.

    Args:
        names: the names of the models.
        vendor: the vendor whose SDK reads it.
    """
    ids = list(names)
    entries: list[Json] = [_entry(name, vendor) for name in ids]
    if vendor == "openai":
        return to_json({"object": "list", "data": entries})
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return to_json({"data": entries, "has_more": False, "first_id": first, "last_id": last})


def model_entry(name: str, vendor: Literal["openai", "anthropic"]) -> bytes:
    """Return the body of one model.

    Args:
        name: the name of the model.
        vendor: the vendor whose SDK reads it.
    """
    return to_json(_entry(name, vendor))


def _entry(name: str, vendor: Literal["openai", "anthropic"]) -> dict[str, Json]:
    if vendor == "openai":
        return {"id": name, "object": "model", "created": 0, "owned_by": "callsheet"}
    return {"type": "model", "id": name, "display_name": name, "created_at": _BEGIN}
