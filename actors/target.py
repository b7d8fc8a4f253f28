"""One of the places where a call can be made."""

import attrs
from attrs.validators import and_, instance_of, min_len, optional

from .vendors import Endpoint

__all__ = ["Target"]


@attrs.frozen
class Target:
    """An endpoint, and the model to ask there.

    Args:
        endpoint: where.
        model: the model there; None for the one that the request names.

    Raises:
        TypeError, ValueError: it is no endpoint, or the name is empty.
    """

    endpoint: Endpoint = attrs.field(validator=instance_of(Endpoint))
    model: str | None = attrs.field(
        default=None, validator=optional(and_(instance_of(str), min_len(1)))
    )
