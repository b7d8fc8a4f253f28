import pytest

from callsheet.provider import ProviderSettings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latency_s", (3.0, 1.0)),
        ("latency_s", (-1.0, 1.0)),
        ("time_scale", -1.0),
        ("rpm", 0),
        ("tpm", -5),
        ("itpm", 0),
        ("otpm", -1),
        ("burst_s", 0),
        ("first_piece", 1.1),
        ("stream_pieces", 0),
        ("flex_refused", 1.5),
        ("default_answer_tokens", -1),
        ("headers_on_429", ["retry-later"]),
        ("choice_order", "any"),
        ("token_charge", "both"),
        ("api_key", ""),
        ("models", (1,)),
        ("context_tokens", 0),
        ("faults", "500=1"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        ProviderSettings(**{field: value})
