"""The pool's decisions, compared with a model that searches plain lists."""

import itertools

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callsheet.actors.http.pool import NEW, ConnectionPool

PLACES, IDLE_S = 4, 10.0
ORIGINS = [("http", "a", 80), ("https", "a", 443)]


@attrs.define(eq=False)
class Conn:
    origin: object
    since: float = 0.0


class Pooling(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.pool = ConnectionPool(PLACES, IDLE_S)
        self.now = 0.0
        self.names = itertools.count()
        self.opening = []  # origins whose connection is being opened
        self.in_use = []
        self.idle = []  # oldest first
        self.queue = []  # (waiter, origin)
        self.steps = 0

    @rule(seconds=st.sampled_from([0.5, 4.0, 5.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @precondition(lambda self: not self.pool.is_closed)
    @rule(origin=st.sampled_from(ORIGINS))
    def take(self, origin):
        doomed = [conn for conn in self.idle if self.now - conn.since >= IDLE_S]
        self.idle = [conn for conn in self.idle if conn not in doomed]
        fitting = [conn for conn in self.idle if conn.origin == origin]
        expected = NEW
        if fitting:
            expected = fitting[-1]
            self.idle.remove(expected)
            self.in_use.append(expected)
        elif self.taken < PLACES:
            self.opening.append(origin)
        elif self.idle:
            doomed.append(self.idle.pop(0))
            self.opening.append(origin)
        else:
            expected = None
        lease = self.pool.take(origin, self.now)
        assert lease is expected
        self.check_doomed(doomed)
        if lease is None:
            waiter = next(self.names)
            self.pool.wait(waiter, origin)
            self.queue.append((waiter, origin))

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def withdraw(self, data):
        entry = data.draw(st.sampled_from(self.queue))
        self.queue.remove(entry)
        self.pool.withdraw(entry[0])

    @precondition(lambda self: self.opening)
    @rule(data=st.data(), works=st.booleans())
    def opened(self, data, works):
        origin = data.draw(st.sampled_from(self.opening))
        self.opening.remove(origin)
        if works:
            self.in_use.append(Conn(origin))
        else:
            self.freed(self.pool.free())

    @precondition(lambda self: self.in_use)
    @rule(data=st.data())
    def drop(self, data):
        self.in_use.remove(data.draw(st.sampled_from(self.in_use)))
        self.freed(self.pool.free())

    @precondition(lambda self: self.in_use)
    @rule(data=st.data())
    def put_back(self, data):
        conn = data.draw(st.sampled_from(self.in_use))
        grant = self.pool.put_back(conn, conn.origin, self.now)
        self.in_use.remove(conn)
        if self.pool.is_closed:
            self.check_doomed([conn])
            assert grant is None
        elif self.queue:
            waiter, origin = self.queue.pop(0)
            assert grant.waiter == waiter
            if origin == conn.origin:
                assert grant.lease is conn
                self.in_use.append(conn)
                self.check_doomed([])
            else:
                assert grant.lease is NEW
                self.opening.append(origin)
                self.check_doomed([conn])
        else:
            assert grant is None
            conn.since = self.now
            self.idle.append(conn)
            doomed = [conn for conn in self.idle if self.now - conn.since >= IDLE_S]
            self.idle = [conn for conn in self.idle if conn not in doomed]
            self.check_doomed(doomed)

    @precondition(lambda self: self.steps > 40 and not self.pool.is_closed)
    @rule()
    def close(self):
        waiters = self.pool.close()
        assert self.pool.is_closed
        assert waiters == [waiter for waiter, _ in self.queue]
        self.check_doomed(self.idle)
        self.queue, self.idle = [], []

    def freed(self, grant):
        if not self.queue:
            assert grant is None
            return
        waiter, origin = self.queue.pop(0)
        assert (grant.waiter, grant.lease) == (waiter, NEW)
        self.opening.append(origin)

    def check_doomed(self, expected):
        assert self.pool.doomed == expected
        self.pool.doomed.clear()

    @property
    def taken(self):
        return len(self.opening) + len(self.in_use) + len(self.idle)

    @invariant()
    def one_step_more(self):
        self.steps += 1

    @invariant()
    def the_books_are_right(self):
        now = self.pool.statistics()
        assert now.open == self.taken <= PLACES
        assert now.in_use == len(self.opening) + len(self.in_use)
        assert (now.idle, now.waiting) == (len(self.idle), len(self.queue))

    @precondition(lambda self: self.pool.is_closed)
    @invariant()
    def nothing_is_kept_after_the_close(self):
        assert not self.idle

    @invariant()
    def no_request_waits_while_a_connection_is_idle_or_a_place_is_free(self):
        if self.queue:
            assert not self.idle
            assert self.taken == PLACES

    @invariant()
    def nothing_is_kept_for_origins_without_connections(self):
        assert set(self.pool._stacks) == {conn.origin for conn in self.idle}


TestPooling = Pooling.TestCase
TestPooling.settings = settings(
    max_examples=settings.default.max_examples, stateful_step_count=40, deadline=None
)
