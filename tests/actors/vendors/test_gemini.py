"""Gemini's format: its names and counts become OpenAI's."""

import pytest
from bodies import HI, chat, read_stream, sse, texts_of
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Choice, Usage
from callsheet.actors.vendors.format import (
    BrokeOff,
    DecodedResponse,
    Malformed,
    StreamFailed,
    UnsupportedField,
)
from callsheet.actors.vendors.gemini import GeminiContent

FORM = GeminiContent()
USAGE = {
    "promptTokenCount": 12,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 40,
    "cachedContentTokenCount": 8,
    "toolUsePromptTokenCount": 1,
    "totalTokenCount": 56,
}
COUNTED = Usage(13, 43, 8, reasoning_tokens=40)


def candidate(text=None, reason=None, **more):
    found = {} if text is None else {"content": {"role": "model", "parts": [{"text": text}]}}
    return found | ({} if reason is None else {"finishReason": reason}) | more


def body(*candidates, **more):
    return {
        "candidates": list(candidates),
        "usageMetadata": USAGE,
        "modelVersion": "gemini-3.5-flash",
        "responseId": "r-1",
    } | more


def test_a_chat_with_all_that_gemini_knows():
    messages = [ChatMessage("system", "Be brief."), *HI, ChatMessage("assistant", "Yes?"), *HI]
    request = chat(
        messages=messages,
        max_tokens=9,
        n=2,
        temperature=1.5,
        top_p=0.9,
        stop=["END"],
        seed=1,
        json_schema={"type": "object"},
        extra_body={"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
    )
    assert FORM.encode(request, stream=True) == {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Yes?"}]},
            {"role": "user", "parts": [{"text": "Hi"}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {
            "maxOutputTokens": 9,
            "candidateCount": 2,
            "temperature": 1.5,
            "topP": 0.9,
            "stopSequences": ["END"],
            "seed": 1,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingBudget": 0},
        },
    }


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-3.5-flash", False, "/models/gemini-3.5-flash:generateContent"),
        ("gemini-3.5-flash", True, "/models/gemini-3.5-flash:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", False, "/tunedModels/mine:generateContent"),
        ("a b?c#d", False, "/models/a%20b%3Fc%23d:generateContent"),
    ],
)
def test_the_model_stands_in_the_path(model, stream, path):
    assert FORM.path(chat(model=model), stream=stream) == path


def test_the_number_of_choices_is_sent_once():
    with pytest.raises(UnsupportedField, match="candidateCount"):
        FORM.encode(chat(extra_body={"generationConfig": {"candidateCount": 2}}), stream=False)


def test_thoughts_are_counted_and_are_no_part_of_the_text():
    parts = [{"text": "Hmm", "thought": True}, {"text": "Hel"}, {"inlineData": {}}, {"text": "lo"}]
    answer = FORM.decode(body({"content": {"parts": parts}, "finishReason": "STOP"}), chat())
    assert answer == DecodedResponse(
        choices=(Choice("Hello", "stop", reasoning="Hmm"),),
        model="gemini-3.5-flash",
        usage=COUNTED,
    )


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("SPII", "content_filter"),
        ("OTHER", "other"),
        ("MALFORMED_FUNCTION_CALL", "malformed_function_call"),
        ("FINISH_REASON_UNSPECIFIED", None),
        (None, None),
    ],
)
def test_why_it_ended_in_openais_words(reason, finish):
    assert FORM.decode(body(candidate("a", reason)), chat()).choices == (Choice("a", finish),)


def test_a_candidate_without_content_is_an_answer_without_text():
    assert FORM.decode(body(candidate(None, "SAFETY")), chat()).choices == (
        Choice("", "content_filter"),
    )


BLOCKED = {
    "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
    "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5},
    "modelVersion": "g",
}


def test_a_prompt_that_is_blocked_is_an_answer_that_was_filtered():
    answer = FORM.decode(BLOCKED, chat(n=2))
    assert answer.choices == (Choice("", "content_filter", refusal="PROHIBITED_CONTENT"),) * 2
    assert answer.usage == Usage(5, 0)
    assert read_stream(FORM, chat(n=2), [sse(BLOCKED, done=None)])[1] == answer


def test_several_candidates_come_in_the_order_of_their_indices():
    several = body(candidate("b", "STOP", index=1), candidate("a", "STOP", index=0))
    assert [choice.text for choice in FORM.decode(several, chat(n=2)).choices] == ["a", "b"]
    for wrong in (several, body()):
        with pytest.raises(Malformed):
            FORM.decode(wrong, chat())


@pytest.mark.parametrize(
    "wrong", [None, [], "Hi", {}, {"candidates": None}, {"promptFeedback": {}}, {"candidates": [1]}]
)
def test_what_is_no_answer_is_malformed(wrong):
    with pytest.raises(Malformed):
        FORM.decode(wrong, chat())


ERROR = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"},
        ],
    }
}


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: [error]])
def test_an_error_with_its_details(wrap):
    error = FORM.decode_error(wrap(ERROR))
    assert (error.code, error.status) == ("429", "RESOURCE_EXHAUSTED")
    assert '"retryDelay":"37.5s"' in error.details
    assert "PerDay" in error.details
    assert FORM.decode(wrap(ERROR), chat()) == error


STREAM = [
    body(candidate("Zoë ", index=0), usageMetadata={"promptTokenCount": 12}),
    body(candidate("日😀"), usageMetadata={"promptTokenCount": 12, "candidatesTokenCount": 2}),
    body(candidate("", "STOP")),
]
WHOLE = DecodedResponse(
    choices=(Choice("Zoë 日😀", "stop"),), model="gemini-3.5-flash", usage=COUNTED
)


def test_a_stream_as_gemini_sends_it():
    deltas, answer = read_stream(FORM, chat(), [sse(*STREAM, done=None)])
    assert texts_of(deltas) == ["Zoë 日😀"]
    assert answer == WHOLE


@given(st.data())
def test_a_stream_means_the_same_however_it_is_cut(data):
    whole = sse(*STREAM, done=None).replace(b"\n", b"\r\n")  # as Google ends its lines
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read_stream(FORM, chat(), pieces)[1] == WHOLE


def test_a_stream_means_the_same_byte_by_byte():
    pieces = [bytes([byte]) for byte in sse(*STREAM, done=None)]
    assert read_stream(FORM, chat(), pieces)[1] == WHOLE


def test_the_candidates_of_a_stream_are_separated():
    events = [
        body(candidate("a", index=1), candidate("x")),
        body(candidate("b", "MAX_TOKENS", index=1)),
        body(candidate(None, "STOP", index=0)),
    ]
    deltas, answer = read_stream(FORM, chat(n=2), [sse(*events, done=None)])
    assert texts_of(deltas, 2) == ["x", "ab"]
    assert answer.choices == (Choice("x", "stop"), Choice("ab", "length"))


def test_a_stream_that_ends_too_soon_is_no_short_answer():
    for events in (STREAM[:2], []):
        with pytest.raises(BrokeOff, match="finish reason"):
            read_stream(FORM, chat(), [sse(*events, done=None)])


def test_an_error_in_the_middle_of_a_stream_is_an_error():
    with pytest.raises(StreamFailed, match="quota") as caught:
        read_stream(FORM, chat(), [sse(STREAM[0], ERROR, done=None)])
    assert caught.value.error.status == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("event", ["nonsense", "[1]", '{"candidates": [3]}'])
def test_an_event_that_is_no_answer_is_malformed(event):
    with pytest.raises(Malformed):
        read_stream(FORM, chat(), [sse(event, done=None)])
