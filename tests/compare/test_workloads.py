import random

import pytest

from callsheet.actors.messages import Request
from callsheet.compare.samples import HEADLINE_TOPICS, INSTRUCTION, TOPICS, write_reviews
from callsheet.compare.workloads import WORKLOADS, make_workload


def tokens(text):
    return len(text) / 4


def test_a_post_is_one_topic_and_posts_are_fifty_different_ones():
    assert make_workload("post").items == (TOPICS[0],)
    assert make_workload("posts").items == TOPICS
    assert len({topic.casefold() for topic in TOPICS}) == 50
    assert TOPICS[:12] == HEADLINE_TOPICS


def test_headlines_are_the_headline_calls_of_the_default_post():
    workload = make_workload("headlines")
    assert workload.items == HEADLINE_TOPICS
    assert len(HEADLINE_TOPICS) == 12
    assert [step.name for step in workload.recipe.steps] == ["headline"]
    assert workload.recipe.steps[0] in make_workload("post").recipe.steps
    assert workload.recipe.max_tokens == 500


def test_reviews_are_a_thousand_requests_to_label_that_may_share_answers():
    items = make_workload("reviews").items
    assert len(items) == 1000
    for request in items:
        assert isinstance(request, Request)
        assert [message.role for message in request.messages] == ["system", "user"]
        assert request.messages[0].content == INSTRUCTION
        assert request.temperature == 0
        assert request.cacheable


def test_the_instruction_has_250_tokens():
    assert tokens(INSTRUCTION) == pytest.approx(250, abs=5)


@pytest.mark.parametrize("seed", range(5))
def test_reviews_have_20_to_80_tokens_and_a_fifth_of_them_are_exact_copies(seed):
    reviews = write_reviews(random.Random(seed))
    assert len(reviews) == 1000
    assert len(set(reviews)) == 800
    assert min(map(tokens, reviews)) >= 20
    assert max(map(tokens, reviews)) <= 80


def test_passages_are_as_many_and_as_long_as_they_should_be_and_all_differ():
    items = make_workload("embeddings").items
    texts = [request.inputs[0] for request in items]
    assert len(set(texts)) == len(texts) == 10_000
    assert all(195 <= len(text) <= 1600 for text in texts)
    assert 2_000_000 < sum(len(text) // 4 for text in texts) < 2_500_000


def test_a_seed_always_makes_the_same_workload_and_another_one_another():
    for name in WORKLOADS:
        assert make_workload(name, 7) == make_workload(name, 7)
    assert make_workload("reviews", 7) != make_workload("reviews", 8)


@pytest.mark.parametrize("copies", [-1, 10])
def test_copies_of_nothing_are_refused(copies):
    with pytest.raises(ValueError, match="copies"):
        write_reviews(random.Random(0), count=10, copies=copies)


def test_a_workload_without_items_is_refused():
    with pytest.raises(ValueError, match="items"):
        type(make_workload("post"))(name="post", items=())
