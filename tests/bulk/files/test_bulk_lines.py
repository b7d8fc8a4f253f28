"""Lines have the members of a Batch API's results, and can be read again."""

import json
from decimal import Decimal

import pytest
from bulk_rows import row

from callsheet.actors import Choice, RateLimited, Request, Response, Spent, Usage
from callsheet.bulk.files.lines import answer_line, bad_line, failure_line, read_answer, with_id
from callsheet.bulk.row import BadRow, Row


def response(**more):
    given = {
        "text": "Yes.",
        "model": "gpt-4o-mini-2024-07-18",
        "finish_reason": "stop",
        "usage": Usage(10, 5, cached_tokens=4, reasoning_tokens=2),
        "cost_usd": Decimal("0.000012"),
        "choices": (Choice("Yes.", "stop"), Choice("No.", "length")),
        "seconds": 1.5,
        "host": "provider",
    }
    return Response(**given | more)


def test_an_answer_has_the_shape_of_a_batch_line():
    line = json.loads(answer_line(row(3), response(), 1_800_000_000))
    assert set(line) == {"id", "custom_id", "response", "error", "callsheet"}
    assert (line["custom_id"], line["error"]) == ("r-3", None)
    body = line["response"]["body"]
    assert line["response"]["status_code"] == 200
    assert body["object"] == "chat.completion"
    assert [one["message"]["content"] for one in body["choices"]] == ["Yes.", "No."]
    assert body["usage"]["total_tokens"] == 15
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    ours = line["callsheet"]
    assert (ours["route"], ours["attempts"], ours["cost_usd"]) == ("live", 1, 0.000012)
    assert (ours["latency_s"], ours["usage"]["cached_tokens"]) == (1.5, 4)


@pytest.mark.parametrize("cost", [Decimal("0.000012"), None])
def test_an_answer_can_be_read_again(cost):
    answer = response(cost_usd=cost)
    assert read_answer(answer_line(row(1), answer, 0)) == answer


def test_a_line_says_what_was_wrong_with_the_usage():
    """Rule L13: a usage that is not believed is shown."""
    answer = response(usage_doubt="the total of 736 tokens is not 36 + 10")
    line = answer_line(row(1), answer, 0)
    assert json.loads(line)["callsheet"]["usage_doubt"] == answer.usage_doubt
    assert read_answer(line).usage_doubt == answer.usage_doubt
    assert "usage_doubt" not in json.loads(answer_line(row(1), response(), 0))["callsheet"]


def test_vectors_and_completions_have_their_own_shapes():
    for request, answer in [
        (
            Request.embedding(["a", "b"], model="m"),
            response(text="", choices=(), embeddings=((0.5, 1.0), (0.25, 2.0)), finish_reason=None),
        ),
        (Request(model="m", task="completion", inputs=["a"]), response()),
    ]:
        one = Row(number=1, custom_id="x", request=request, key=b"k" * 16, url="/v1/x")
        assert read_answer(answer_line(one, answer, 0)) == answer


def test_text_with_lone_surrogates_is_written():
    line = answer_line(row(1), response(choices=(Choice("caf\udce9", "stop"),)), 0)
    assert line.endswith(b"\n")
    assert read_answer(line).text == "caf?"


def test_a_failure_has_the_providers_text_or_states_that_there_is_none():
    told = json.loads(failure_line(row(1), RateLimited("too fast", attempts=5, status=429)))
    assert told["response"]["status_code"] == 429
    assert told["response"]["body"]["error"]["message"] == "too fast"
    assert told["error"] is None
    ours = {"row": 1, "kind": "RateLimited", "message": "too fast", "attempts": 5}
    assert told["callsheet"] == {**ours, "billed": "no", "cost_usd": 0}
    silent = json.loads(failure_line(row(1), ValueError("no such thing")))
    assert silent["response"] is None
    assert silent["error"] == {"code": "ValueError", "message": "no such thing"}


def test_a_failure_has_what_was_paid_for_its_row_all_the_same():
    error = RateLimited("too fast", attempts=2).after(Usage(7, 3), Decimal("0.25"))
    ours = json.loads(failure_line(row(1), error))["callsheet"]
    assert (ours["billed"], ours["cost_usd"]) == ("yes", 0.25)
    took = Spent(Usage(9, 4), None, 5, maybe_billed=1)
    ours = json.loads(failure_line(row(1), error, took))["callsheet"]
    assert (ours["attempts"], ours["billed"], ours["cost_usd"]) == (5, "maybe", None)


def test_a_bad_line_has_its_place_and_reason():
    line = json.loads(bad_line(BadRow(number=7, reason="no JSON", text="{")))
    assert line["callsheet"] == {"row": 7, "kind": "BadRow", "text": "{"}


def test_another_id_replaces_a_generated_one():
    line = answer_line(row(1, custom_id="row-1"), response(), 0)
    same = row(1, custom_id="row-1")
    assert with_id(line, same) is line
    other = Row(number=9, custom_id="row-9", request=same.request, key=same.key, url=same.url)
    assert json.loads(with_id(line, other)) == {**json.loads(line), "custom_id": "row-9"}


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b'{"response": null, "callsheet": {}}'])
def test_what_is_no_answer_is_not_read_as_one(line):
    with pytest.raises(ValueError, match=r"."):
        read_answer(line)
