"""How strategies combine requests, split responses and divide costs (L5)."""

from decimal import Decimal

import attrs
import pytest
from fakes import MODEL
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Choice, Request, Response, Tool, Usage
from callsheet.actors.batching.agreement import Agreement, Agreements, answers_agree
from callsheet.actors.batching.cost_shares import split_cost, split_count, split_usage
from callsheet.actors.batching.lists import ListStrategy
from callsheet.actors.batching.packing import Packing
from callsheet.actors.vendors.format import BatchLimits, BatchWeight, Malformed
from callsheet.actors.vendors.openai_lists import OpenAIEmbeddings

INSTRUCTION = "Answer with a label."


def item(text, **more):
    messages = [ChatMessage("system", INSTRUCTION), ChatMessage("user", text)]
    return Request(model=MODEL, messages=messages, packable=True, **more)


def said(text="", **more):
    known = {"model": MODEL, "finish_reason": "stop", "usage": Usage(), "cost_usd": Decimal(0)}
    return Response(text=text, **(known | more))


def weigh(text):
    return BatchWeight(1, len(text), len(text))


# ------------------------------------------------------------------ packing


@pytest.mark.parametrize(
    "request_",
    [
        item("a", returns=dict[str, int]),  # no strict mode can enforce it
        Request.of("a", model=MODEL, system=INSTRUCTION),
        Request.of("a", model=MODEL, packable=True),
        item("a", n=2),
        item("a", stop="x"),
        item("a", idempotency_key="mine"),
        item("a" * 10_000),
        Request.embedding("a", model=MODEL),
        Request(
            model=MODEL,
            messages=[ChatMessage("system", "x"), ChatMessage("assistant", "y")],
            packable=True,
        ),
        item("a", extra_body={"tools": [{"type": "function"}]}),
        item("a", extra_body={"tool_choice": "none"}),
        item("a", tools=[Tool(name="search")]),
        item("a", tool_choice="none"),
        item("a", extra_body={"toolConfig": {}}),
        item("a", extra_body={"logprobs": True}),
        item("a", extra_body={"top_logprobs": 2}),
        item("a", extra_body={"generationConfig": {"responseLogprobs": True}}),
        item("a", extra_body={"generationConfig": {"candidateCount": 2}}),
        item("a", extra_body={"n": 2}),
        item("a", api="responses", extra_body={"include": ["message.output_text.logprobs"]}),
        item("a", api="responses", extra_body={"text": {"format": {"type": "json_object"}}}),
        item("a", api="responses", extra_body={"previous_response_id": "resp_1"}),
        item("a", extra_body={"max_completion_tokens": 5}),
        item("a", extra_body={"max_tokens": 5}),
        item("a", extra_body={"generationConfig": {"maxOutputTokens": 5}}),
        item("a", extra_body={"options": {"num_predict": 5}}),
        item("a", extra_body={"response_format": {"type": "json_object"}}),
        item("a", extra_body={"text": {"format": {"type": "json_object"}}}),
        item("a", extra_body={"logit_bias": {"1": 100}}),
        item("a", extra_body={"output_config": {"format": {"type": "json_schema"}}}),
        item("a", extra_body={"stop_token_ids": [13]}),
        item("a", extra_body={"system": "Answer in rhymes."}),
        item("a", api="responses", extra_body={"instructions": "Answer in rhymes."}),
        item("a", extra_body={"systemInstruction": {"parts": [{"text": "x"}]}}),
        item("\u6c34" * 1000),  # 1,000 tokens and more, though 1,000 characters
        Request(
            model=MODEL,
            messages=[ChatMessage("system", "x"), ChatMessage("user", "y", extra={"name": "Ann"})],
            packable=True,
        ),
    ],
)
def test_requests_that_cannot_or_may_not_be_packed_have_no_key(request_):
    assert Packing().key(request_) is None


def test_items_share_a_pack_only_if_all_but_the_item_is_the_same():
    pack = Packing()
    assert pack.key(item("a")) == pack.key(item("b")) is not None
    assert pack.key(item("a", cacheable=True)) == pack.key(item("b", deadline=9.0))
    others = [
        item("a", max_tokens=5),
        item("a", temperature=0.0),
        item("a", extra_body={"top_k": 1}),
        item("a", extra_body={"top_k": True}),
        item("a", extra_body={"metadata": {"top_k": 1}}),
        item("a", extra_body={"output_config": {"effort": "low"}}),
        attrs.evolve(item("a"), model="other"),
        attrs.evolve(
            item("a"), messages=[ChatMessage("system", "Else."), ChatMessage("user", "a")]
        ),
    ]
    assert len({pack.key(one) for one in [item("a"), *others]}) == len(others) + 1


@pytest.mark.parametrize("name", ["n", "input", "prompt"])
def test_a_request_whose_extra_body_changes_the_items_is_in_no_list(name):
    """Its list would be paid for, and no share of the response could be told."""
    lists = ListStrategy("completion", BatchLimits())
    plain = Request(model=MODEL, task="completion", inputs=("a",))
    assert lists.key(plain) is not None
    assert lists.key(attrs.evolve(plain, extra_body={name: 2})) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 30) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
# ------------------------------------------------------------------ lists

EMBED = ListStrategy("embedding", BatchLimits(max_size=4, max_tokens=40))
COMPLETE = ListStrategy("completion", BatchLimits(max_size=10))


def completion(*prompts, **more):
    return Request(model=MODEL, task="completion", inputs=prompts, **more)


@given(st.lists(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4), min_size=1))
def test_each_vector_goes_to_the_member_of_its_text(texts):
    requests = [Request.embedding(some, model=MODEL) for some in texts]
    whole = EMBED.combine(requests)
    vectors = {text: (float(place),) for place, text in enumerate(dict.fromkeys(whole.inputs))}
    answer = said(embeddings=tuple(vectors[text] for text in whole.inputs))
    for some, own in zip(texts, EMBED.split(requests, answer), strict=True):
        assert own.embeddings == tuple(vectors[text] for text in some)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(1, 3))
def test_each_choice_goes_to_the_member_of_its_prompt(sizes, n):
    names = iter(range(100))
    requests = [completion(*(f"p{next(names)}" for _ in range(size)), n=n) for size in sizes]
    whole = COMPLETE.combine(requests)
    choices = tuple(Choice(f"{prompt}/{j}") for prompt in whole.inputs for j in range(n))
    for request, own in zip(requests, COMPLETE.split(requests, said(choices=choices)), strict=True):
        assert [choice.text for choice in own.choices] == [
            f"{prompt}/{j}" for prompt in request.inputs for j in range(n)
        ]
        assert own.text == own.choices[0].text


def test_a_prompt_whose_generation_failed_has_no_share_and_the_others_have_theirs():
    """L5, L11: it is asked for once more, alone."""
    requests = [completion("a"), completion("b"), completion("c", "d")]
    reasons = ("stop", "error", "stop", "length")
    choices = tuple(Choice(text, why) for text, why in zip("ABCD", reasons, strict=True))
    first, failed, last = COMPLETE.split(requests, said(choices=choices, body={"choices": []}))
    assert (first.text, failed, last.choices) == ("A", None, choices[2:])
    assert (first.body, last.body) == (None, None), "L10: the body is of all members"


@given(st.integers(0, 12).filter(lambda count: count != 3))
def test_a_list_of_the_wrong_length_is_given_to_no_member(count):
    requests = [Request.embedding(["a", "b"], model=MODEL), Request.embedding("c", model=MODEL)]
    answer = said(embeddings=((1.0,),) * count)
    assert EMBED.split(requests, answer) == [None, None]


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=30))
def test_the_pieces_of_a_request_are_within_bounds_and_together_the_whole(texts):
    request = Request.embedding(texts, model=MODEL)
    pieces = EMBED.pieces(request, weigh)
    assert [text for piece in pieces for text in piece.inputs] == texts
    for piece in pieces:
        total = sum(map(len, piece.inputs))
        assert len(piece.inputs) == 1 or (len(piece.inputs) <= 4 and total <= 40)
    answers = [said(embeddings=tuple((float(len(t)),) for t in p.inputs)) for p in pieces]
    joined = EMBED.join(request, answers)
    assert joined.embeddings == tuple((float(len(text)),) for text in texts)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "index": st.integers(-1, 4) | st.none() | st.text(max_size=1),
                "embedding": st.just([0.5]) | json_values,
            }
        ),
        max_size=5,
    )
)
def test_vectors_whose_indices_do_not_match_are_refused_as_a_whole(data):
    """What the wire format checks: repeated, missing and foreign indices, invalid vectors."""
    request = Request.embedding(["a", "b", "c"], model=MODEL)
    try:
        answer = OpenAIEmbeddings().decode({"data": data}, request)
    except Malformed:
        return
    places = [at if one["index"] is None else one["index"] for at, one in enumerate(data)]
    assert sorted(map(int, places)) in ([0, 1, 2], [1, 2, 3]), "some servers count from 1"
    assert len(answer.embeddings) == 3


# ------------------------------------------------------------------ shares

counts = st.integers(0, 10**7)
several = st.lists(st.integers(0, 10**5), min_size=1, max_size=20)


@given(counts, several)
def test_shares_add_up_to_the_whole_and_are_less_than_one_from_exact(whole, weights):
    shares = split_count(whole, weights)
    assert sum(shares) == whole
    total = sum(weights)
    for share, weight in zip(shares, weights, strict=True):
        if total:
            assert abs(share * total - whole * weight) < total
        else:
            assert abs(share * len(weights) - whole) < len(weights)


@given(st.builds(Usage, counts, counts, counts, counts, counts), several, st.data())
def test_the_tokens_of_all_members_are_those_of_the_call(usage, inputs, data):
    outputs = data.draw(st.lists(st.integers(0, 99), min_size=len(inputs), max_size=len(inputs)))
    assert sum(split_usage(usage, inputs, outputs), Usage()) == usage


@given(st.decimals(0, 1000, places=12), several)
def test_the_dollars_of_all_members_are_those_of_the_call(cost, weights):
    assert sum(split_cost(cost, weights)) == cost
    assert split_cost(None, weights) == [None] * len(weights)


# ------------------------------------------------------------------ agreement


@given(st.lists(st.booleans(), max_size=80), st.floats(0.1, 1.0))
def test_trust_ends_when_the_latest_checks_agree_too_rarely_and_does_not_come_back(checks, least):
    agreement = Agreement(least)
    expected = True
    for number, agrees in enumerate(checks, 1):
        agreement.check(agrees=agrees)
        latest = checks[max(0, number - 50) : number]
        if len(latest) >= 5 and sum(latest) / len(latest) < least:
            expected = False
        assert agreement.is_trusted == expected
    statistics = agreement.statistics()
    assert (statistics.checks, statistics.agreed) == (len(checks), sum(checks))


def test_a_few_missing_answers_are_no_reason_and_many_are():
    agreement = Agreement(0.9)
    agreement.count(0, 10)
    assert agreement.is_trusted, "ten are too few to judge"
    agreement.count(100, 0)
    assert agreement.is_trusted
    agreement.count(0, 50)
    assert not agreement.is_trusted


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("positive", " Positive\n", True),
        ("positive", "negative", False),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', True),
        ("1", "2", False),
        ('"x"', "x", True),
        ("true", "1", False),
        ("false", "0.0", False),
        ("[true]", "[1]", False),
        ('{"a": {"b": true}}', '{"a": {"b": 1}}', False),
        ("null", "0", False),
        ("true", "True", True),
        ('"true"', "true", True),
        ("1", "1.0", True),
        ("[1e2]", "[100]", True),
        ("9007199254740993", "9007199254740992", False),
        ("NaN", "NaN", True),
        ("[NaN]", "[ NaN ]", False),  # no JSON, so as text
        ("007", "7", False),
        ('{"a": "X"}', '{"a": "x"}', False),
        ("[" * 5000, "[" * 5000, True),
        ("9" * 5000, "9" * 5000, True),
    ],
)
def test_answers_are_compared_as_a_reader_would(one, other, same):
    assert answers_agree(said(one), said(other)) == same


def test_distrust_outlives_more_instructions_than_are_remembered():
    """money.md 10: an instruction that was not to be packed any more was packed again later."""
    agreements = Agreements()
    agreements.of((0, "bad"), 0.9).count(0, 50)
    for number in range(10_000):
        agreements.of((0, number), 0.9)
    assert not agreements.of((0, "bad"), 0.9).is_trusted
    assert len(list(agreements)) <= 4000


def test_distrusted_instructions_that_were_not_used_for_longest_are_forgotten_first():
    agreements = Agreements()
    for number in range(5_000):
        agreements.of((0, number), 0.9).count(0, 50)
        agreements.of((0, "in use"), 0.9).count(0, 50)
    assert not agreements.of((0, "in use"), 0.9).is_trusted
    assert not agreements.of((0, 4_999), 0.9).is_trusted
    assert agreements.of((0, 0), 0.9).is_trusted
