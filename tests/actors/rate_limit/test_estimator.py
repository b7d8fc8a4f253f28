"""The estimated tokens of a call, learned from reported usage, model by model."""

import sys
from importlib.machinery import ModuleSpec
from random import Random
from types import ModuleType

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Request, Usage
from callsheet.actors.rate_limit.estimator import TokenEstimator, offline_counter


def asked(chars=400, model="m", **more):
    return attrs.evolve(Request.of("x" * chars, model=model), **more)


def test_nothing_is_known_at_first():
    estimate = TokenEstimator().estimate(asked(max_tokens=500))
    assert (estimate.input_tokens, estimate.output_tokens) == (107, 500)


def test_an_image_counts_as_one_and_not_by_its_characters():
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 10_000}"}}
    parts = {"content": [{"type": "text", "text": "x" * 400}, picture, picture]}
    message = ChatMessage("user", "x" * 400, extra=parts)
    request, estimator = Request(model="m", messages=[message], max_tokens=5), TokenEstimator()
    assert estimator.estimate(request).input_tokens == 107 + 2 * 765
    for _ in range(50):
        estimator.learn(request, estimator.estimate(request), Usage(107 + 2 * 765, 5))
    assert estimator.statistics()["m"].chars_per_token == pytest.approx(4.0)


def test_it_learns_the_characters_of_a_token_and_the_usual_length_of_an_answer():
    estimator, random = TokenEstimator(), Random(0)
    for _ in range(200):
        request = asked(random.randrange(100, 5000), max_tokens=2000)
        chars = len(request.messages[0].content)
        usage = Usage(round(chars / 2.5) + 4, round(random.gauss(300, 30)))
        estimator.learn(request, estimator.estimate(request), usage)
    estimate = estimator.estimate(asked(2500, max_tokens=2000))
    assert estimate.input_tokens == pytest.approx(1004, rel=0.02)
    assert 300 <= estimate.output_tokens <= 370
    known = estimator.statistics()["m"]
    assert known.calls == 200
    assert known.chars_per_token == pytest.approx(2.5, rel=0.02)
    assert known.input_error < 0.02
    assert abs(known.input_bias) <= known.input_error
    assert known.output_error < 0.25


def test_models_are_known_each_for_itself():
    estimator = TokenEstimator()
    request = asked(model="one")
    estimator.learn(request, estimator.estimate(request), Usage(57, 10))
    assert estimator.estimate(asked(model="one")).input_tokens == 57
    assert estimator.estimate(asked(model="other")).input_tokens == 107


def test_names_that_clients_make_up_are_not_all_known():
    estimator = TokenEstimator()
    for model in ("one", "one", *(f"made-up-{number}" for number in range(1100))):
        request = asked(model=model)
        estimator.learn(request, estimator.estimate(request), Usage(57, 10))
    assert len(estimator.statistics()) == 1000
    assert estimator.statistics()["one"].calls == 2


def test_an_answer_is_never_thought_to_be_longer_than_it_may_be():
    estimator = TokenEstimator()
    request = asked()
    for _ in range(20):
        estimator.learn(request, estimator.estimate(request), Usage(107, 900))
    assert estimator.estimate(asked(max_tokens=50)).output_tokens == 50
    assert estimator.estimate(asked(max_tokens=50, n=3)).output_tokens == 150


def test_vectors_have_no_tokens_of_their_own():
    request = Request.embedding(["x" * 40, "y" * 80], model="m")
    assert TokenEstimator().estimate(request).output_tokens == 0
    assert TokenEstimator().estimate(request).input_tokens == 30


@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 100_000), st.integers(0, 100_000)),
        max_size=30,
    )
)
def test_whatever_a_provider_reports_estimates_stay_sane(calls):
    estimator = TokenEstimator()
    for chars, input_tokens, output_tokens in calls:
        request = asked(chars, max_tokens=1000)
        estimator.learn(request, estimator.estimate(request), Usage(input_tokens, output_tokens))
        estimate = estimator.estimate(request)
        assert 0 <= estimate.input_tokens <= 4 * chars + 8
        assert 0 <= estimate.output_tokens <= 1000


def test_tokens_are_counted_where_that_can_be_done():
    estimator = TokenEstimator({"known": len, "other": None}.get)
    assert estimator.estimate(asked(400, "known")).input_tokens == 407
    assert estimator.estimate(asked(400, "other")).input_tokens == 107


class Encoding:
    def encode(self, text, *, disallowed_special):
        assert disallowed_special == (), "a prompt may say anything"
        return text.split()


def fake_tiktoken(monkeypatch, encoding_for_model):
    package, load = ModuleType("tiktoken"), ModuleType("tiktoken.load")
    package.__spec__ = ModuleSpec("tiktoken", None)
    package.encoding_for_model = encoding_for_model
    load.read_file = fetched = []
    monkeypatch.setitem(sys.modules, "tiktoken", package)
    monkeypatch.setitem(sys.modules, "tiktoken.load", load)
    return load, fetched


def test_tiktoken_counts_if_it_is_installed(monkeypatch):
    fake_tiktoken(monkeypatch, {"gpt-4o": Encoding()}.__getitem__)
    assert offline_counter("gpt-4o")("one two three") == 3


def test_tiktoken_fetches_nothing(monkeypatch):
    def needs_data(model):
        return load.read_file("https://example.org/data")

    load, fetched = fake_tiktoken(monkeypatch, needs_data)
    assert offline_counter("gpt-4o") is None
    assert load.read_file is fetched, "it is as it was before"


def test_without_tiktoken_or_with_a_model_it_does_not_know_nothing_is_counted(monkeypatch):
    fake_tiktoken(monkeypatch, {}.__getitem__)
    assert offline_counter("unheard-of") is None
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert offline_counter("gpt-4o") is None
