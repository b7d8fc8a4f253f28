import pytest

from callsheet.simulator.settings import BatchSettings, ProviderSettings


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
        ("default_output_tokens", -1),
        ("headers_on_429", ["retry-later"]),
        ("choice_order", "any"),
        ("token_charge", "both"),
        ("api_key", ""),
        ("models", (1,)),
        ("context_tokens", 0),
        ("faults", "500=1"),
        ("batches", 1),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        ProviderSettings(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_s", (3.0, 1.0)),
        ("expires_s", 0),
        ("expiring", 1.1),
        ("done_at_expiry", 1.0),
        ("failing", -0.1),
        ("unanswered", float("nan")),
        ("max_lines", 0),
        ("max_bytes", 0),
        ("max_requests", 0),
        ("max_request_bytes", 0),
        ("enqueued_tokens", 0),
        ("overflow", "never"),
        ("dialect", "azure"),
    ],
)
def test_a_wrong_value_of_batches_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(ValueError, match=field):
        BatchSettings(**{field: value})


def test_lines_cannot_fail_in_more_ways_than_there_are_lines():
    with pytest.raises(ValueError, match="failing and unanswered"):
        BatchSettings(failing=0.6, unanswered=0.6)
