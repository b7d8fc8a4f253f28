"""Logins: the key opens a session, wrong keys slow down their own address, and no other one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.gateway.page.sessions import (
    SESSION_S,
    PageSessions,
    TooManyAttempts,
    WrongKey,
)

KEY = "the admin key"
HERE, THERE = "192.0.2.1", "198.51.100.7"


def sessions():
    numbers = itertools.count(1)
    return PageSessions(KEY, new_token=lambda: f"token-{next(numbers)}")


def fail(opened, times, address=HERE, now=0.0):
    for _ in range(times):
        with pytest.raises(WrongKey):
            opened.check_key("wrong", address, now)


def test_a_session_is_open_until_its_end():
    opened = sessions()
    token = opened.log_in(KEY, HERE, 100.0)
    assert opened.end_of(token, 100.0) == 100.0 + SESSION_S
    assert opened.end_of(token, 100.0 + SESSION_S) is None
    assert opened.end_of("token-2", 100.0) is None
    assert opened.end_of("", 100.0) is None


def test_a_session_ends_when_its_user_logs_out():
    opened = sessions()
    mine, theirs = opened.log_in(KEY, HERE, 0.0), opened.log_in(KEY, THERE, 0.0)
    opened.log_out(mine)
    opened.log_out(mine)
    assert opened.end_of(mine, 1.0) is None
    assert opened.end_of(theirs, 1.0) is not None


def test_tokens_are_random_and_neither_they_nor_the_key_are_kept():
    """L8."""
    opened = PageSessions(KEY)
    tokens = {opened.log_in(KEY, HERE, 0.0) for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 43  # 256 bits
    kept = repr(vars(opened)) + repr(opened)
    assert KEY not in kept
    assert not any(token in kept for token in tokens)


def test_wrong_keys_slow_down_their_address_and_no_other_one():
    opened = sessions()
    fail(opened, 3)
    with pytest.raises(TooManyAttempts) as caught:
        opened.check_key(KEY, HERE, 0.5)
    assert caught.value.wait_s == 1.0
    opened.check_key(KEY, THERE, 0.5)
    opened.check_key(KEY, HERE, 1.0)  # the right key ends it
    fail(opened, 3, now=2.0)


def test_the_wait_doubles_up_to_half_a_minute_and_is_forgotten():
    opened, now, waits = sessions(), 0.0, []
    fail(opened, 3)
    for _ in range(8):
        with pytest.raises(TooManyAttempts) as caught:
            opened.check_key(KEY, HERE, now)
        waits.append(caught.value.wait_s)
        now += caught.value.wait_s
        fail(opened, 1, now=now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    fail(opened, 3, now=now + 901.0)


def test_attempts_during_a_wait_do_not_make_it_longer():
    opened = sessions()
    fail(opened, 3)
    for _ in range(50):
        with pytest.raises(TooManyAttempts):
            opened.check_key("wrong", HERE, 0.9)
    opened.check_key(KEY, HERE, 1.0)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "192.0.2.1", False),
    ],
)
def test_addresses_of_one_customer_count_together(one, other, is_same):
    opened = sessions()
    fail(opened, 3, one)
    if is_same:
        with pytest.raises(TooManyAttempts):
            opened.check_key(KEY, other, 0.0)
    else:
        opened.check_key(KEY, other, 0.0)


def test_memory_is_bounded():
    opened = sessions()
    first = opened.log_in(KEY, HERE, 0.0)
    for number in range(3000):
        opened.log_in(KEY, HERE, 0.0)
        fail(opened, 1, f"10.0.{number // 250}.{number % 250}")
    assert len(opened._open) == 64
    assert len(opened._failures) == 1000
    assert opened.end_of(first, 0.0) is None


def test_a_session_ends_with_the_key_of_the_store_that_opened_it():
    valid = {"key of an admin"}
    opened = PageSessions(
        None, find_admin=lambda key: (lambda: key in valid) if key in valid else None
    )
    token = opened.log_in("key of an admin", HERE, 0.0)
    assert opened.end_of(token, 1.0) is not None
    valid.clear()
    assert opened.end_of(token, 2.0) is None
    fail(opened, 1)
    both = PageSessions(KEY, find_admin=lambda _: None)
    assert both.end_of(both.log_in(KEY, HERE, 0.0), 1.0) is not None


def test_an_empty_admin_key_opens_nothing():
    with pytest.raises(ValueError, match="admin key is empty"):
        PageSessions("")


@given(st.text(), st.text(max_size=40))
def test_only_the_key_opens_a_session(key, token):
    opened = sessions()
    if key != KEY:
        with pytest.raises(WrongKey):
            opened.log_in(key, HERE, 0.0)
    assert opened.end_of(token, 0.0) is None


def test_a_key_that_is_no_unicode_is_wrong():
    fail(sessions(), 1)
    with pytest.raises(WrongKey):
        sessions().check_key("\ud800", HERE, 0.0)
