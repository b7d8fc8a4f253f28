"""What a call does with the provider's cache: what it reads and writes, its marks and its key."""

from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Endpoint, Request, Tool, Usage, default_prices
from callsheet.actors.prompt_cache.marks import PromptPlace, is_marked
from callsheet.actors.prompt_cache.planning import CachePlanner, CachePrices
from callsheet.actors.prompt_cache.sightings import KeySpread, Sightings, forget_oldest

SYSTEM = "Judge the text by the rules, and answer in one word. " * 160  # 2,120 tokens
CLAUDE, NEWER, OLDER = "claude-sonnet-4-5", "gpt-5.6", "gpt-5.4-nano"


def planner_at(vendor, caching="auto"):
    endpoint = Endpoint.of(vendor, "sk-ant-0123456789")
    return CachePlanner(endpoint, default_prices().at_vendor(vendor), caching)


def asking(text="Tea", *, model=CLAUDE, system=SYSTEM, **more):
    return Request.of(text, system=system, model=model, max_tokens=5, **more)


def plan(planner, request, now=0.0, lane=""):
    """Plan a call, and note that it has come."""
    found = planner.plan(request, lane, now)
    if found is not None:
        planner.note(found, now)
    return found


def tokens(beginnings):
    return [one.tokens for one in beginnings]


# -------------------------------------------------------------------------------- what is planned


@pytest.mark.parametrize(
    ("vendor", "request_", "why"),
    [
        ("anthropic", asking(system="Short."), "shorter than 1024 tokens"),
        ("anthropic", asking(model="some-model"), "no prompt cache of this model"),
        ("openai", Request.embedding("Tea", model=OLDER), "only the prompts of chats"),
        ("openai", asking(model="gpt-5.99"), "no lower price"),
        ("gemini", asking(model="gemini-2.5-flash", extra_body={"cachedContent": "c"}), "itself"),
        ("together", asking(model="a/b"), "no prompt cache of this model"),
    ],
)
def test_nothing_is_planned_where_nothing_is_saved(vendor, request_, why):
    planner = planner_at(vendor)
    assert why in planner.why_not(request_, 0.0)
    assert planner.plan(request_, "", 0.0) is None


@pytest.mark.parametrize("in_one", [False, True])
def test_a_prompt_of_very_many_parts_is_not_looked_at(in_one):
    parts = [{"type": "text", "text": "a"}] * 10_000
    one = [ChatMessage("user", "", extra={"content": parts})]
    messages = one if in_one else [ChatMessage("user", "a")] * 10_001
    planner = planner_at("anthropic")
    assert "10,000 parts" in planner.why_not(attrs.evolve(asking(), messages=messages), 0.0)


def test_an_automatic_cache_reads_and_writes_every_beginning_of_its_minimum():
    found = plan(planner_at("openai", "order"), asking(model=OLDER))
    assert found.wish.readable == found.wish.written
    assert min(tokens(found.wish.readable)) >= 1024
    assert (found.marks, found.key) == ((), "")


def test_order_does_nothing_where_the_user_marks_nothing():
    planner = planner_at("anthropic", "order")
    for text in ("Tea", "Coffee"):
        found = plan(planner, asking(text))
        assert found.wish.readable == found.wish.written == found.marks == ()
        assert found.applied(asking(text)) == asking(text)


def test_marks_of_the_user_are_what_is_written_and_nothing_is_added():
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    system = ChatMessage("system", SYSTEM, extra=mark)
    request = Request(model=CLAUDE, messages=[system, ChatMessage("user", "Tea")])
    for caching in ("order", "auto"):
        found = plan(planner_at("anthropic", caching), request)
        assert tokens(found.wish.written) == tokens(found.wish.readable) == [2120]
        assert found.wish.life_s == 3590
        assert found.applied(request) == request


@pytest.mark.parametrize(("ttl", "share"), [("5m", 1.25), ("1h", 2.0)])
def test_a_write_for_an_hour_has_a_price_of_its_own(ttl, share):
    """Anthropic charges twice the price of input for it."""
    mark = {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    system = ChatMessage("system", SYSTEM, extra=mark)
    request = Request(model=CLAUDE, messages=[system, ChatMessage("user", "Tea")])
    assert plan(planner_at("anthropic"), request).prices.write == pytest.approx(share)


def test_the_whole_prompt_is_what_newer_models_of_openai_write_unless_told_otherwise():
    planner = planner_at("openai", "order")
    [whole] = plan(planner, asking(model=NEWER)).wish.written
    assert whole.tokens == 2120
    explicit = asking(model=NEWER, extra_body={"prompt_cache_options": {"mode": "explicit"}})
    assert plan(planner, explicit).wish.written == ()


def test_a_cache_that_needs_a_key_is_used_with_one_only():
    request = asking(model="mistral-small-latest")
    keyed = attrs.evolve(request, extra_body={"prompt_cache_key": "mine"})
    assert plan(planner_at("mistral", "order"), request).wish.written == ()
    assert plan(planner_at("mistral", "order"), keyed).wish.written != ()
    found = plan(planner_at("mistral", "auto"), request)
    assert found.wish.written != ()
    assert found.applied(request).extra_body == {"prompt_cache_key": found.key}


def test_a_request_that_cannot_be_sent_gets_no_plan():
    planner = planner_at("openai")
    assert planner.plan(asking(model=OLDER, extra_body={"n": 2**70}), "", 0.0) is not None
    bad = Tool(name="f", parameters={"type": "object"})
    object.__setattr__(bad, "parameters", {"type": {1, 2}})
    assert planner.plan(asking(model=OLDER, tools=[bad]), "", 0.0) is None
    odd = asking("\ud800" * 9, model=OLDER, extra_body={"x": "\ud800"})
    assert planner.plan(odd, "", 0.0) is not None


# ------------------------------------------------------------------------------------------ marks


def test_a_beginning_is_marked_when_it_comes_again():
    """The first call may be the only one, and a write costs 1.25."""
    planner = planner_at("anthropic")
    assert plan(planner, asking("Tea")).marks == ()
    found = plan(planner, asking("Coffee"), now=289.0)
    assert found.marks == (PromptPlace(0),)
    assert tokens(found.wish.written) == [2120]
    sent = found.applied(asking("Coffee"))
    assert is_marked(sent)
    assert [message.role for message in sent.messages] == ["system", "user"]
    assert plan(planner, asking("Water"), now=5000.0).marks == (), "it would be forgotten"


def test_a_template_in_one_text_is_marked_within_the_text():
    planner = planner_at("anthropic")
    one, other = (Request.of(f"{SYSTEM}{text}", model=CLAUDE) for text in ("Tea", "Coffee"))
    plan(planner, one)
    found = plan(planner, other)
    [where] = found.marks
    assert where.chars > 0.8 * len(SYSTEM)
    first, second = found.applied(other).messages[0].body["content"]
    assert first["text"] + second["text"] == f"{SYSTEM}Coffee"
    assert ("cache_control" in first, "cache_control" in second) == (True, False)


def test_a_dialogue_is_marked_at_its_end_so_that_the_next_turn_reads_it():
    planner = planner_at("anthropic")
    turns = [ChatMessage("system", SYSTEM), ChatMessage("user", "Tea?")]
    first = Request(model=CLAUDE, messages=turns)
    second = attrs.evolve(
        first, messages=[*turns, ChatMessage("assistant", "Yes."), ChatMessage("user", "Why?")]
    )
    assert plan(planner, first).marks == ()
    assert plan(planner, second).marks == (PromptPlace(1), PromptPlace(3))
    other = attrs.evolve(first, messages=[turns[0], ChatMessage("user", "Milk?")])
    assert plan(planner, other).marks == (PromptPlace(0),)


def test_newer_models_of_openai_are_marked_from_the_first_call_on():
    """Without a mark the whole prompt is written, at 1.25; with one, its beginning only."""
    found = plan(planner_at("openai"), asking(model=NEWER))
    assert found.marks == (PromptPlace(0),)
    sent = found.applied(asking(model=NEWER))
    assert sent.extra_body["prompt_cache_options"] == {"mode": "explicit"}
    assert sent.extra_body["prompt_cache_key"] == found.key


def test_tools_are_not_marked_where_marks_are_on_parts_only():
    """So no call reads them, and none waits for another one."""
    tools = [
        Tool(name=f"tool{number}", description="Does it. " * 100, parameters={"type": "object"})
        for number in range(10)
    ]
    planner = planner_at("openai")
    for text in ("Tea", "Coffee"):
        found = plan(planner, Request.of(text, tools=tools, model=NEWER, max_tokens=5))
        assert found.marks == ()
        assert found.wish.written == found.wish.readable[-1:], "the whole prompt is written"


@pytest.mark.parametrize(
    ("read", "write", "sightings"), [(0.1, 1.0, 0), (0.1, 1.25, 1), (0.1, 2.0, 2), (0.5, 2.5, 3)]
)
def test_a_write_is_paid_when_as_much_has_been_lost_without_it(read, write, sightings):
    assert CachePrices(1, read, write).sightings == sightings


# ------------------------------------------------------------------------------------------- keys


def test_a_beginning_is_spread_over_keys_and_keys_tell_caches_apart():
    planner = planner_at("openai")
    found = [plan(planner, asking(f"{n}", model=OLDER)) for n in range(40)]
    assert list(Counter(one.key for one in found).values()) == [15, 15, 10]
    assert found[0].wish.readable != found[20].wish.readable
    assert plan(planner, asking(model=OLDER), now=60.0).key == found[0].key
    assert "Judge" not in found[0].key


@given(st.lists(st.tuples(st.sampled_from(b"ab"), st.sampled_from([0.0, 1.0, 7.0])), max_size=80))
def test_no_key_gets_more_calls_a_minute_than_it_takes(steps):
    spread, now, used = KeySpread(), 0.0, []
    for letter, seconds in steps:
        now += seconds
        beginning = bytes([letter])
        number = spread.next_number(beginning, 4, now)
        latest = [at for key, at in used if key == (beginning, number) and at > now - 60]
        assert len(latest) < 4
        lower = Counter(key for key, at in used if key[0] == beginning and at > now - 60)
        assert all(lower[beginning, before] == 4 for before in range(number))
        spread.use(beginning, number, now)
        used.append(((beginning, number), now))


@pytest.mark.parametrize("model", [OLDER, NEWER])
def test_calls_about_one_document_share_keys_that_no_other_document_has(model):
    """Each key leads to a cache of its own, to which each document would be written."""
    planner, keys = planner_at("openai"), {}
    for number in range(200):
        system = f"{SYSTEM} Document {number % 5}. " + f"tea{number % 5} " * 500
        found = plan(planner, asking(f"{number}", model=model, system=system))
        keys.setdefault(number % 5, Counter())[found.key] += 1
    assert max(max(each.values()) for each in keys.values()) <= 15
    assert all(len(each) <= 4 for each in keys.values())
    common = set.intersection(*map(set, keys.values()))
    assert len(common) == 1, "the first key, while no document was known"


def test_a_dialogue_stays_at_its_key_while_others_come_and_go():
    planner, keys, messages = planner_at("openai"), [], [ChatMessage("system", SYSTEM)]
    for turn in range(8):
        for other in range(20):
            plan(planner, asking(f"{turn} {other}", model=NEWER), now=20.0 * turn)
        messages.append(ChatMessage("user", f"Question {turn}"))
        request = Request(model=NEWER, messages=messages, max_tokens=5)
        keys.append(plan(planner, request, now=20.0 * turn).key)
        messages.append(ChatMessage("assistant", "Yes."))
    assert len(set(keys[2:])) == 1


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6))))
def test_sightings_count_what_the_provider_would_still_have_or_what_it_had_before(steps):
    seen, now, latest = Sightings(max_known=3), 0.0, {}
    for letter, seconds in steps:
        now += seconds
        key = letter.encode()
        times, at = latest.get(key, (0, now))
        there = times if now - at < 5 else 0
        assert seen.times(key, now) in (0, there or max(0, times - 1))
        seen.add([key], key, now, 5.0)
        latest[key] = there + 1 if seen.times(key, now) > 1 else 1, now


def test_a_beginning_that_came_often_is_marked_at_once_after_it_has_expired():
    """One that has come once in its life, or not for an hour, is not expected to come again."""
    planner = planner_at("anthropic")
    marked = [
        bool(plan(planner, asking(f"Text {at}"), now=at).marks)
        for at in (0.0, 1.0, 2.0, 320.0, 700.0, 1100.0)
    ]
    assert marked == [False, True, True, True, False, False]
    for at in (1101.0, 1102.0, 6000.0):
        found = plan(planner, asking(f"Text {at}"), now=at)
    assert not found.marks


# ---------------------------------------------------------------------------- what usage decides


def learn(planner, found, usage, *, is_warm=False, is_marked=False):
    planner.learn(found, usage, 0.0, is_warm=is_warm, is_marked=is_marked)


def test_a_mark_that_neither_reads_nor_writes_shows_that_the_minimum_is_higher():
    planner = planner_at("anthropic")
    plan(planner, asking())
    found = plan(planner, asking())
    learn(planner, found, Usage(2125, 5), is_marked=True)
    assert "shorter than" in planner.why_not(asking(), 0.0)
    longer = asking(system=SYSTEM * 2)
    plan(planner, longer)
    found = plan(planner, longer)
    assert found.marks == (PromptPlace(1),)
    learn(planner, found, Usage(4245, 5, cache_write_tokens=4200), is_marked=True)
    assert planner.why_not(longer, 0.0) == ""


def test_an_automatic_cache_that_is_never_read_is_not_waited_for_any_more():
    planner = planner_at("openai")
    for _ in range(7):
        learn(planner, plan(planner, asking(model=OLDER)), Usage(2125, 5), is_warm=True)
    hit = Usage(2125, 5, cached_tokens=2048)
    learn(planner, plan(planner, asking(model=OLDER)), hit, is_warm=True)
    for _ in range(8):
        learn(planner, plan(planner, asking(model=OLDER)), Usage(2125, 5), is_warm=True)
    assert planner.plan(asking(model=OLDER), "", 0.0) is None
    assert planner.plan(asking(model=OLDER), "", 3600.0) is not None, "it is tried again"


def test_tokens_are_estimated_from_the_usage_of_earlier_calls():
    planner = planner_at("openai")
    for _ in range(10):
        found = plan(planner, asking(model=OLDER))
        learn(planner, found, Usage(4240, 5, cached_tokens=1), is_warm=True)
    assert plan(planner, asking(model=OLDER)).beginning == pytest.approx(4240, abs=30)


def test_a_provider_that_refuses_marks_gets_none_any_more():
    planner = planner_at("anthropic")
    plan(planner, asking())
    assert plan(planner, asking()).marks
    assert planner.refused(CLAUDE)
    assert not planner.refused(CLAUDE)
    assert plan(planner, asking()).marks == ()


def test_the_oldest_entries_are_forgotten():
    known = {b"a": 1, b"b": 2, b"c": 3}
    forget_oldest(known, 3)
    assert list(known) == [b"a", b"b", b"c"]
    forget_oldest(known, 1)
    assert list(known) == [b"c"]
