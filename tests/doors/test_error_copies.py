"""A copy of an error is the same error, for one more caller."""

import attrs
import httpx
import pytest

from callsheet.actors import BadRequest, BudgetExceeded
from callsheet.bulk import BulkStopped, RunEnding
from callsheet.doors.trio_thread import copy_of
from callsheet.runtime import ActorCrashed, AskTimedOut, Dropped, MailboxFull, Verdict


class Own(Exception):
    def __init__(self, name, *, times):
        super().__init__(f"{name} failed {times} times")
        self.name, self.times = name, times


@attrs.define(slots=False)
class Attrs(Exception):
    town: str
    code: int = 3


ERRORS = [
    BadRequest("Sorry", status=400, attempts=2, body={"a": [1]}, request_id="r"),
    BudgetExceeded("too much", budget="a day", attempts=1),
    AskTimedOut("app/a", Verdict.MAY_HAVE_RUN),
    MailboxFull("app/a", 3),
    Dropped("app/a"),
    ActorCrashed("app/a", Verdict.NOT_STARTED, ValueError("inner")),
    BulkStopped(RunEnding("disk", "the disk is gone", "use another")),
    KeyError("name"),
    OSError(2, "No such file", "name"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ExceptionGroup("two", [ValueError("a"), TypeError("b")]),
    httpx.ConnectError("refused"),
    Own("it", times=3),
    Attrs("Oslo"),
]


def raised(error):
    try:
        raise error from error.__cause__
    except type(error) as caught:
        caught.add_note("a note")
        return caught


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_copy_has_everything_of_the_error(error):
    original = raised(error)
    copied = copy_of(original)
    assert copied is not original
    assert type(copied) is type(original)
    assert str(copied) == str(original)
    assert copied.args == original.args
    assert {**vars(copied)} == {**vars(original)}
    assert copied.__cause__ is original.__cause__
    assert copied.__suppress_context__ == original.__suppress_context__
    assert copied.__traceback__ is original.__traceback__
    copied.add_note("of the copy")
    assert original.__notes__ == ["a note"]


class Slotted(Exception):
    __slots__ = ("town",)


class Fussy(Exception):
    def __new__(cls, *, town):
        return super().__new__(cls, town)

    def __init__(self, *, town):
        super().__init__(town)


@pytest.mark.parametrize("error", [Slotted("x"), Fussy(town="Oslo")])
def test_an_error_that_cannot_be_copied_is_passed_on_itself(error):
    assert copy_of(error) is error
