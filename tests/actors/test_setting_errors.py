"""Every setting of the product refuses a bad value in one sentence that names the setting."""

import inspect
import math
from collections import deque
from decimal import Decimal
from typing import get_args, get_type_hints

import attrs
import pytest

from callsheet import Endpoint, Limits, Rate, Request, TroupeSettings, actors
from callsheet.actors import Budget, Target
from callsheet.bulk import BulkSettings, ReadSettings
from callsheet.compare import Workload
from callsheet.compare.environment import Environment
from callsheet.gateway import GatewaySettings, ModelRoute, TlsFiles
from callsheet.gateway.file import ModelTable
from callsheet.gateway.keys import KeyTerms
from callsheet.runtime import Actor, RestartPolicy
from callsheet.runtime.testing import Faulty
from callsheet.serving import ServingLimits
from callsheet.serving.tls import Tls
from callsheet.simulator import BatchSettings, CacheSettings, Fault, Faults, ProviderSettings

ENDPOINT = Endpoint("http://127.0.0.1:1/v1", vendor="compatible")
TROUPE = TroupeSettings(endpoint=ENDPOINT)


SAMPLES = [
    TROUPE,
    BulkSettings(),
    ReadSettings(),
    GatewaySettings(troupes={"main": TROUPE}, routes=(ModelRoute(name="*", troupe="main"),)),
    TlsFiles("cert.pem", "key.pem"),
    KeyTerms(name="web"),
    ModelTable(endpoint="main"),
    ServingLimits(),
    Tls("cert.pem", "key.pem"),
    ProviderSettings(),
    BatchSettings(),
    CacheSettings(),
    Faults(),
    Fault("429"),
    ENDPOINT,
    Environment(base_url="http://127.0.0.1:1/v1"),
    Workload(name="post", items=("Trio",)),
    RestartPolicy(),
    Faulty(Actor, crash_on_message=1),
    Request(model="m", messages=[{"role": "user", "content": "Hi"}]),
    # What the settings above may have, and have not by default.
    Rate("requests", 1),
    Budget(1),
    Target(ENDPOINT),
    actors.Tool(name="search"),
    *(
        getattr(actors, name)()
        for name in dir(actors)
        if name.endswith(("Policy", "Limits", "Batching", "Packing", "Routing", "Timeouts", "Lane"))
        and attrs.has(getattr(actors, name))
        and all(one.default is not attrs.NOTHING for one in attrs.fields(getattr(actors, name)))
    ),
]

BAD = [
    object(),
    -1,
    -1.5,
    "",
    "no such value",
    None,
    [1],
    [None],
    {"a": 1},
    {1: "a"},
    math.nan,
    Decimal(-1),
    True,
    b"bytes",
    len,
    [["nested"]],
    [{}],
    Decimal("sNaN"),
    -(10**400),
]
NOT_BOOLS = {int, float, int | None, float | None}
UNCHECKED = {  # set by this package alone, or read when they are called
    "Budget": ("aside",),
    "Faulty": ("factory", "error", "each_incarnation"),
    "ModelTable": ("endpoint", "fallback"),
    "Tool": ("signature",),
}


def checked_fields(sample):
    return [
        field
        for field in attrs.fields(type(sample))
        if field.init and field.name not in UNCHECKED.get(type(sample).__name__, ())
    ]


def raised(sample, field, value):
    """Return the error that a value of a field raises; None if it is accepted."""
    try:
        attrs.evolve(sample, **{field.alias: value})
    except Exception as error:  # noqa: BLE001  # any kind is looked at
        return error
    return None


def complaint(field, error):
    """Return what is wrong with an error; None if nothing is."""
    text = str(error)
    if not isinstance(error, TypeError | ValueError):
        return "is of the wrong class"
    if len(error.args) != 1 or text != error.args[0] or "Attribute(" in text or "\n" in text:
        return "is not one sentence"
    if " object at 0x" not in text and "<class" in text:
        return "has a class"
    if field.alias not in text and not text.startswith(("unknown fault", "unknown provider")):
        return "does not name the setting"
    return None


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_bad_value_is_refused_in_one_sentence(sample):
    fields = checked_fields(sample)
    errors = [
        (field, value, error)
        for field in fields
        for value in BAD
        if (error := raised(sample, field, value)) is not None
    ]
    assert {field.name for field, _, _ in errors} == {field.name for field in fields}
    wrong = [
        f"{field.name}={value!r:.30} {why}: {type(error).__name__} {error!s:.100}"
        for field, value, error in errors
        if (why := complaint(field, error)) is not None
    ]
    assert wrong == []


def attrs_classes_in(hint):
    """Return the attrs classes that an annotation names, at every depth."""
    if inspect.isclass(hint) and attrs.has(hint):
        return {hint}
    return {found for one in get_args(hint) for found in attrs_classes_in(one)}


def test_no_validated_class_of_settings_is_left_out():
    """Each class that a sample may have as a value, and that checks a value, is a sample too."""
    known = {type(sample) for sample in SAMPLES}
    waiting, seen = deque(known), set(known)
    while waiting:
        one = waiting.popleft()
        try:
            hints = get_type_hints(one)
        except NameError:  # a name for type checkers alone
            hints = {}
        for found in set().union(*map(attrs_classes_in, hints.values())) - seen:
            seen.add(found)
            waiting.append(found)
    not_settings = {"ChatMessage", "Price", "PriceBook", "TierPrice"}
    left_out = {
        one.__name__
        for one in seen - known
        if any(field.validator is not None for field in attrs.fields(one))
    }
    assert left_out <= not_settings, left_out


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_true_is_no_number(sample):
    numbers = [one for one in checked_fields(sample) if one.type in NOT_BOOLS]
    assert [one.name for one in numbers if raised(sample, one, value=True) is None] == []


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_a_whole_number_is_not_infinite(sample):
    whole = [one for one in checked_fields(sample) if one.type in (int, int | None)]
    assert [one.name for one in whole if raised(sample, one, math.inf) is None] == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Limits(rates=[Rate("usd", 1), 5]), "rates[1] must be a Rate, not 5"),
        (lambda: Limits(models={"m": 5}), "models must map names to Limits, not to 5"),
        (lambda: Limits(lanes={5: None}), "a key of lanes must be a string, not 5"),
        (lambda: BulkSettings(retry_on=("length", "x")), "retry_on[1] must be one of 'length', "),
        (lambda: BulkSettings(window_rows=0), "'window_rows' must be >= 1: 0"),
        (lambda: ReadSettings(model=""), "model must not be empty"),
        (lambda: ProviderSettings(models=("a", 1)), "models[1] must be a string, not 1"),
        (lambda: KeyTerms(name="web", models="gpt-5*"), "models must be a list, not 'gpt-5*'"),
        (lambda: ServingLimits(keep_alive_s="1"), "keep_alive_s must be a number, not '1'"),
    ],
)
def test_the_error_names_the_place(make, words):
    with pytest.raises((TypeError, ValueError)) as error:
        make()
    assert str(error.value).startswith(words)
