"""Rows for OpenAI's moderations, live and in batches."""

import json

import pytest
from bulk_rows import lines_of, stage

from callsheet.actors import BatchApiPolicy, Endpoint, Malformed, Request, UnsupportedField
from callsheet.actors.vendors.openai_lists import OpenAIModerations
from callsheet.bulk.files.lines import read_answer
from callsheet.bulk.reading import ReadSettings, open_rows

URL = "/v1/moderations"
MODEL = "omni-moderation-latest"
PARTS = [
    {"type": "text", "text": "Some violence"},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
]
BODIES = [
    {"model": MODEL, "input": "Hello."},
    {"input": "Some violence."},
    {"model": MODEL, "input": ["Hello.", "Some hate."]},
    {"model": MODEL, "input": PARTS},
]


@pytest.fixture
def asked(tmp_path):
    path = tmp_path / "in.jsonl"
    lines = [{"custom_id": str(n), "url": URL, "body": body} for n, body in enumerate(BODIES)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with open_rows(path, ReadSettings()) as rows:
        return list(rows)


@pytest.mark.parametrize(("row", "body"), list(enumerate(BODIES)))
def test_a_body_is_sent_as_it_is(asked, row, body):
    """L15, with OpenAI's own model where the body names none."""
    sent = OpenAIModerations().encode(asked[row].request, stream=False)
    assert sent == {"model": MODEL, **body}


@pytest.mark.parametrize("route", ["live", "batch"])
async def test_the_body_is_the_providers_own(autojump_clock, output, asked, route):
    troupe = {"batches": BatchApiPolicy()}
    async with stage() as it:
        results = await it.run(asked, output, route=route, troupe=troupe)
        again = await it.run(asked, output, route=route, troupe=troupe)
    assert [result.error for result in results] == [None] * 4, [it.message for it in results]
    lines = lines_of(output)
    bodies = [line["response"]["body"] for line in lines]
    assert [[it["flagged"] for it in body["results"]] for body in bodies] == [
        [False],
        [True],
        [False, True],
        [True],
    ]
    assert {line["callsheet"]["route"] for line in lines} == {route}
    assert "usage" not in bodies[0]
    assert [result.response.text for result in results] == ["", "violence", "", "violence"]
    assert read_answer(output.read_bytes().splitlines()[1]) == results[1].response
    assert [one.line for one in again] == [one.line for one in results]


async def test_a_provider_without_moderations_refuses_them(autojump_clock, output, asked):
    endpoint = Endpoint("http://provider/v1", None, "anthropic")
    async with stage() as it:
        results = await it.run(asked, output, troupe={"endpoint": endpoint})
    assert "task='moderation'" in results[0].message


def test_a_body_without_a_result_for_each_input_is_malformed():
    request = Request(model=MODEL, task="moderation", inputs=["a", "b"])
    form = OpenAIModerations()
    for body in ({"results": [{}]}, {"results": [1, 2]}, {"results": None}, {}):
        with pytest.raises(Malformed):
            form.decode(body, request)
    with pytest.raises(UnsupportedField, match="stream"):
        form.encode(request, stream=True)
    with pytest.raises(UnsupportedField, match="max_tokens"):
        form.encode(Request(model=MODEL, task="moderation", inputs="a", max_tokens=5), stream=False)
