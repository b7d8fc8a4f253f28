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
        ("burst_s", 0),
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
