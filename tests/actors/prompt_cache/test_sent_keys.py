"""The key of a call is chosen when it is sent: one with room, whose cache has its beginning."""

from similar_calls import OLDER, asking

from callsheet.actors import Endpoint, default_prices
from callsheet.actors.prompt_cache.planning import CachePlanner
from callsheet.actors.prompt_cache.sent_keys import SentKeys
from callsheet.actors.prompt_cache.sightings import KeySpread
from callsheet.actors.prompt_cache.warmth import WarmBeginnings


def plans(count):
    """Plans of calls that come at once: 15 with each key."""
    endpoint = Endpoint.of("openai", "sk-0123456789")
    planner = CachePlanner(endpoint, default_prices().at_vendor("openai"), "auto")
    found = []
    for number in range(count):
        plan = planner.plan(asking(f"Text {number}", model=OLDER), "", 0.0)
        planner.note(plan, 0.0)
        found.append(plan)
    return found


def test_a_call_takes_a_warm_key_with_room_instead_of_a_cold_one():
    first, *_, last = plans(20)
    warm, keys = WarmBeginnings(), SentKeys()
    assert first.key != last.key
    assert keys.choose(first, warm.warm_tokens, 0.0) == (first.key, first.wish)
    assert keys.choose(last, warm.warm_tokens, 0.0)[0] == last.key, "nothing is warm"
    warm.began(warm.arrive(1, first.wish, 0.0).lead, 1.0)
    key, wish = keys.choose(last, warm.warm_tokens, 9.0)
    assert (key, wish.readable[0].key) == (first.key, first.wish.readable[0].key)
    assert warm.warm_tokens(wish, 1.0) > 0


def test_a_warm_key_takes_fifteen_calls_a_minute():
    first, *_, last = plans(20)
    warm, keys = WarmBeginnings(), SentKeys()
    warm.began(warm.arrive(1, first.wish, 0.0).lead, 1.0)
    keys.choose(first, warm.warm_tokens, 1.0)
    at = [*(5.0 + 4.0 * number for number in range(14)), 60.5, 70.0]
    chosen = [keys.choose(last, warm.warm_tokens, now)[0] for now in at]
    assert chosen == [first.key] * 14 + [last.key, first.key]


def test_calls_that_are_sent_faster_than_the_warm_keys_take_keep_their_own_ones():
    """The room at a warm key is for those calls that follow there."""
    first, *_, last = plans(20)
    warm, keys = WarmBeginnings(), SentKeys()
    warm.began(warm.arrive(1, first.wish, 0.0).lead, 1.0)
    keys.choose(first, warm.warm_tokens, 1.0)
    keys.choose(first, warm.warm_tokens, 1.5)
    assert keys.choose(last, warm.warm_tokens, 2.0)[0] == last.key


def test_a_few_words_that_prompts_share_beyond_their_instruction_get_no_key_of_their_own():
    """Another key costs a write of the instruction, and saves the words alone."""
    for size, expected in ((1010, 1), (1600, 2)):
        keys = KeySpread()
        keys.use(b"origin", 0, 0.0, [b"rules", b"words"])
        keys.use(b"origin", 1, 0.0, [b"rules"])
        found = keys.next_number(
            b"origin", 1, 61.0, [b"rules", b"words"], sizes=[1000, size], least=512
        )
        assert found == 0
        keys.use(b"origin", 0, 61.0, [b"rules", b"words"])
        found = keys.next_number(
            b"origin", 1, 61.0, [b"rules", b"words"], sizes=[1000, size], least=512
        )
        assert found == expected, "the other key has room, and the same instruction"
