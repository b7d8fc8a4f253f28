"""A setting of the wrong kind is refused by the name of its field, in words."""

import attrs
import pytest

from callsheet.actors import Budget, Lane, LedgerPolicy, Rate, Request, RetryPolicy, TroupeSettings
from callsheet.actors.rate_limit import Limits
from callsheet.actors.validation import instance_of

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Limits(rpm="600"), "rpm must be a number, not '600'"),
        (lambda: Limits(in_flight="3"), "in_flight must be an integer, not '3'"),
        (lambda: Limits(learn=1), "learn must be true or false, not 1"),
        (lambda: Limits(rates=[600]), "rates[0] must be a Rate, not 600"),
        (lambda: Limits(lanes={"web": 2}), "lanes['web'] must be a Lane, not 2"),
        (
            lambda: Limits(token_charge="all"),
            "token_charge must be one of 'max', 'sum', 'used', not",
        ),
        (lambda: Rate("rpm", 5), "dimension must be one of "),
        (lambda: Lane(weight="high"), "weight must be a number, not 'high'"),
        (lambda: RetryPolicy(max_attempts="3"), "max_attempts must be "),
        (lambda: TroupeSettings(endpoint="openai"), "endpoint must be an Endpoint"),
        (
            lambda: Request.of("Hi", model="m", temperature="hot"),
            "temperature must be a number, not",
        ),
        (
            lambda: Request.of("Hi", model="m", api="batch"),
            "api must be one of 'chat', 'responses', not",
        ),
        (
            lambda: Request.of(MESSAGES, model="m"),
            "prompt must be a string, not a list; Request(mess",
        ),
        (
            lambda: Request.of("Hi", model="m", tools=len),
            "tools must be a list, such as tools=[func",
        ),
        (
            lambda: Request.of("Hi", model="m", tools={"name": "f"}),
            "tools must be a list, such as ",
        ),
        (lambda: LedgerPolicy(budgets=[Budget(1, per="week")]), "per must be one of "),
    ],
)
def test_the_error_names_the_field_and_what_it_takes(make, words):
    with pytest.raises((TypeError, ValueError)) as raised:
        make()
    assert str(raised.value).startswith(words)


@attrs.frozen
class Sample:
    either: object = attrs.field(validator=instance_of((str, int)))
    number: object = attrs.field(default=1.5, validator=instance_of((int, float)))


def test_one_of_several_kinds_is_enough():
    assert Sample("a", 1) == Sample("a", 1)
    with pytest.raises(TypeError, match="either must be a string or an integer, not null"):
        Sample(None)
    with pytest.raises(TypeError, match="number must be a number, not a bytes"):
        Sample("a", b"1")
