"""What was found out about one thing, and about all of them."""

from collections.abc import Sequence
from typing import Literal

import attrs

FindingState = Literal["ok", "absent", "note", "problem"]
"""`absent` is what is not there and is not needed; a `note` may matter; a `problem` does."""


@attrs.frozen
class Finding:
    """What was found out about one thing, without secrets (L8).

    Args:
        section: what it belongs to, such as "Keys".
        name: what it is, such as "OPENAI_API_KEY".
        state: whether something is to be done about it.
        text: what was found.
        remedy: what to do about it; "" if there is nothing to do.
    """

    section: str
    name: str
    state: FindingState
    text: str
    remedy: str = ""


@attrs.frozen
class DoctorReport:
    """What `callsheet doctor --json` writes.

    Args:
        ok: whether there is no problem.
        findings: what was found, in the order of the table.
    """

    ok: bool
    findings: Sequence[Finding]
