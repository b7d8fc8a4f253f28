"""The places that clients leave in line."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from callsheet.gateway.calls.places import (
    REMEMBERED_S,
    KeptAnswer,
    LeftPlace,
    LeftPlaces,
    place_key,
)

KEYS = [place_key("k_1", "/v1/messages", body) for body in (b"one", b"two", b"three")]


def test_a_call_comes_again_with_its_key_its_path_and_its_body():
    same = place_key("k_1", "/v1/messages", b"one")
    assert same == KEYS[0]
    assert place_key("k_2", "/v1/messages", b"one") != same
    assert place_key("k_1", "/v1/chat/completions", b"one") != same
    assert place_key("k_1/v1", "/messages", b"one") != same


def test_a_place_is_taken_once():
    """L6: two identical calls of one client never share a response."""
    places = LeftPlaces()
    places.leave(KEYS[0], LeftPlace(1.0, 2.0, KeptAnswer((), b"{}")))
    places.leave(KEYS[0], LeftPlace(1.5, 2.5))
    first, second = places.take(KEYS[0], 3.0), places.take(KEYS[0], 3.0)
    assert (first.came, second.came) == (1.0, 1.5)
    assert places.take(KEYS[0], 3.0) is None


def test_a_place_is_forgotten_in_time():
    places = LeftPlaces()
    places.leave(KEYS[0], LeftPlace(0.0, 0.0))
    places.leave(KEYS[0], LeftPlace(50.0, 100.0))
    assert places.take(KEYS[0], REMEMBERED_S + 1.0).came == 50.0
    assert len(places) == 0


def test_large_answers_do_not_fill_the_memory():
    places, answer = LeftPlaces(), KeptAnswer((), bytes(40 * 1024 * 1024))
    places.leave(KEYS[0], LeftPlace(0.0, 0.0, answer))
    places.leave(KEYS[1], LeftPlace(0.0, 1.0, answer))
    assert len(places) == 1
    assert places.take(KEYS[0], 2.0) is None
    assert places.take(KEYS[1], 2.0).answer is answer


steps = st.lists(st.tuples(st.sampled_from("lt"), st.integers(0, 2), st.floats(0.0, 90.0)))


@given(steps)
def test_places_are_as_in_a_plain_list(moves):
    """R14: against the plainest model, a list of what was left for each key."""
    places, model, now = LeftPlaces(), [deque() for _ in KEYS], 0.0
    for move, at, seconds in moves:
        now += seconds
        if move == "l":
            place = LeftPlace(now - 1.0, now)
            places.leave(KEYS[at], place)
            model[at].append(place)
            continue
        expected = None
        while model[at] and expected is None:
            place = model[at].popleft()
            expected = place if now - place.left <= REMEMBERED_S else None
        assert places.take(KEYS[at], now) == expected
    assert len(places) <= sum(map(len, model))
