import pytest
from local_provider import lower_bound_of, posts, reviews

from callsheet.compare.workloads import make_workload


async def test_a_post_has_eleven_calls_and_four_of_them_are_its_critical_path(autojump_clock):
    lower_bound = await lower_bound_of(make_workload("post"), latency_s=(2, 2))
    (item,) = lower_bound.items
    assert len(item.calls) == 11
    seconds, path = item.critical_path
    assert seconds == pytest.approx(8)
    assert path[:3] == ("headline", "intro", "outline")
    assert path[3].startswith("sections[")
    assert item.one_by_one_s == pytest.approx(22)


async def test_latencies_are_scaled_and_follow_the_seed(autojump_clock):
    whole = await lower_bound_of(posts(1), seed=3)
    tenth = await lower_bound_of(posts(1), seed=3, time_scale=0.1)
    other = await lower_bound_of(posts(1), seed=4)
    assert tenth.slowest.one_by_one_s == pytest.approx(whole.slowest.one_by_one_s / 10)
    assert other.slowest.one_by_one_s != pytest.approx(whole.slowest.one_by_one_s)
    assert all(1 <= seconds <= 3 for seconds in whole.slowest.latencies_s.values())


async def test_the_slowest_item_is_the_one_with_the_longest_critical_path(autojump_clock):
    lower_bound = await lower_bound_of(posts(5))
    paths = [item.critical_path[0] for item in lower_bound.items]
    assert lower_bound.slowest.critical_path[0] == max(paths)
    assert lower_bound.calls == 55
    assert len(lower_bound.distinct_s) == 55


async def test_computing_the_lower_bound_takes_no_time(autojump_clock):
    import trio

    start = trio.current_time()
    await lower_bound_of(posts(2))
    assert trio.current_time() - start < 0.001


async def test_copies_that_may_share_an_answer_count_once(autojump_clock):
    lower_bound = await lower_bound_of(reviews(distinct=4, copies=3), latency_s=(1, 1))
    assert lower_bound.calls == 7
    assert lower_bound.distinct_s == (1, 1, 1, 1)


async def test_every_review_gets_one_of_the_three_labels(autojump_clock):
    lower_bound = await lower_bound_of(reviews(distinct=60, copies=0))
    labels = {item.results["answer"] for item in lower_bound.items}
    assert labels == {"positive", "negative", "neutral"}


async def test_a_headline_is_written_for_each_topic(autojump_clock):
    lower_bound = await lower_bound_of(make_workload("headlines"))
    headlines = [item.results["headline"] for item in lower_bound.items]
    assert len(set(headlines)) == 12
    assert "Quantum Computing" in headlines[0]
