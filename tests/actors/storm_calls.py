"""The calls of a storm: every kind that shares, caches, batches or pays in its own way.

The response to each call has a mark that only its request asks for, whichever way it travels.
"""

import re
from collections import Counter
from math import inf

import attrs
import trio

from callsheet.actors import CallFailed, Request, Response, Usage
from callsheet.runtime import AskFailed

MODEL, POOR_MODEL = "gpt-4o-mini", "gpt-4.1-nano"
TENANTS = ("north", "south", "west")
POOR = "poor"
DAY_S = 86_400.0
TOPICS = 30  # that several tenants ask for, and again later
GAP_S = 0.15  # on average, between the callers who come together and the next ones
INSTRUCTION = (
    "You write headlines for the harbour news, a paper with a small page that is read by people "
    "who wait for a ferry. Write a headline about the item alone: in plain words, without quotes, "
    "without a full stop at the end, no longer than a line, and with the name of the item in it "
    "as it is spelled. Do not explain the headline and do not answer questions in the item."
)
REGISTER = INSTRUCTION.replace("headline", "keyword").replace("a keyword", "one keyword")
HANDBOOK = (
    INSTRUCTION + "Read the house rules of the paper first. " * 120
)  # long enough to be cached


@attrs.frozen
class StormCall:
    """A call, and how its caller behaves.

    Args:
        kind: the kind of the call.
        mark: the text that the response has, and that no other request asks for.
        request: the request.
        lane: the tenant.
        gap_s: seconds between the call before and this one.
        patience_s: seconds that the caller waits for the response.
        leaves_s: seconds after which the caller cancels the call; infinity for never.
        is_stream: whether the caller reads the response piece by piece.
    """

    kind: str
    mark: str
    request: Request
    lane: str
    gap_s: float = 0.0
    patience_s: float = inf
    leaves_s: float = inf
    is_stream: bool = False


def headline(mark, **more):
    return Request.of(
        f"Write a headline about {mark}.", **{"model": MODEL, "max_tokens": 60} | more
    )


def _alone(number, random):
    long = random.random() < 0.5  # a longer response is streamed underneath
    return f"ship-{number}", headline(f"ship-{number}", max_tokens=300 if long else 60)


def _several(number, random):
    request = headline(f"fleet-{number}", max_tokens=60)
    return f"fleet-{number}", attrs.evolve(request, n=random.randint(2, 3))


def _shared(number, random):
    mark = f"port-{random.randrange(TOPICS)}"
    return mark, headline(mark, cacheable=True)


def _packed(number, random):
    mark = f"cargo-{number}"
    urgency = random.choice([None, None, DAY_S])
    # A keyword is the same in a pack and alone. A headline is not: its packs are not used.
    instruction = REGISTER if number % 4 else INSTRUCTION
    return mark, Request.of(
        mark, system=instruction, model=MODEL, max_tokens=60, packable=True, deadline=urgency
    )


def _listed(number, random):
    mark = f"buoy-{number}"
    return mark, Request.embedding(mark, model="text-embedding-3-small")


def _completed(number, random):
    return f"crane-{number}", Request(
        model="gpt-3.5-turbo-instruct",
        task="completion",
        inputs=[f"Write a headline about crane-{number}."],
        max_tokens=60,
    )


def _batched(number, random):
    if random.random() < 0.3:  # in a batch, too, a topic is paid for once
        mark = f"dock-{random.randrange(TOPICS)}"
        return mark, headline(mark, cacheable=True, deadline=DAY_S)
    return f"lock-{number}", headline(f"lock-{number}", deadline=random.choice([DAY_S, 5000.0]))


def _urgent(number, random):
    return f"pilot-{number}", headline(f"pilot-{number}", deadline=random.choice([20.0, 120.0]))


def _lengthy(number, random):
    mark = f"wharf-{number}"
    return mark, Request.of(mark, system=HANDBOOK, model=MODEL, max_tokens=60)


# {kind: (what makes a call, how often it is chosen, how many callers make one at the same time)}
KINDS = {
    "alone": (_alone, 8, 1),
    "several": (_several, 2, 1),
    "shared": (_shared, 4, 4),
    "packed": (_packed, 2, 15),
    "listed": (_listed, 2, 5),
    "completed": (_completed, 1, 3),
    "batched": (_batched, 3, 4),
    "urgent": (_urgent, 2, 1),
    "lengthy": (_lengthy, 2, 1),
}


def storm_calls(count, random, *, is_patient=False):
    """Return calls of every kind, for several tenants, one of which has hardly any money.

    Args:
        count: how many.
        random: the source of chance.
        is_patient: whether each caller waits for the response, however long it takes.
    """
    found = []
    while len(found) < count:
        kind = random.choices(list(KINDS), [weight for _, weight, _ in KINDS.values()])[0]
        make, _, most = KINDS[kind]
        lane, gap_s = random.choice(TENANTS), random.expovariate(1 / GAP_S)
        for _ in range(random.randint(1, most)):
            number = len(found)
            mark, request = make(number, random)
            if kind == "shared":
                lane = random.choice(TENANTS)
            if kind in ("alone", "shared") and random.random() < 0.2:
                lane, request = POOR, attrs.evolve(request, model=POOR_MODEL)
            is_stream = kind in ("alone", "urgent") and number % 3 == 0
            call = StormCall(kind, mark, request, lane, gap_s=gap_s, is_stream=is_stream)
            found.append(call if is_patient else _impatient(call, random))
            gap_s = 0.0
    return found[:count]


def _impatient(call, random):
    is_slow = (call.request.deadline or 0) > 1000
    patience = random.choice([30.0, 700.0, inf] if is_slow else [0.4, 2.0, 60.0, inf])
    leaves = random.choice([inf] * 9 + [200.0 if is_slow else 1.2])
    return attrs.evolve(call, patience_s=patience, leaves_s=leaves)


@attrs.define(eq=False)
class StormCallers:
    """The callers of a storm, and what they got.

    Args:
        vectors: {mark: its vector}.

    Attributes:
        ends: {kind of the end: calls}; each call ends once.
        routes: {route: responses}.
        from_fallbacks: the number of responses that a fallback gave.
        wrong: the calls whose response has not the mark of their request.
        late: the calls that ended after the caller's patience.
        usage: the tokens that the responses and the errors report.
        usd: the dollars that the responses and the errors report.
        costs: {number of the call: the dollars that its response or its error reports, None if it
            does not know them}; no call whose caller left, or whose end the runtime reports.
        reported: {number of the call: how many times it has ended}.
        tell: called with the number of each call that has ended, and its end; None to tell nothing.
    """

    vectors: dict
    ends: Counter = attrs.field(factory=Counter)
    routes: Counter = attrs.field(factory=Counter)
    from_fallbacks: int = 0
    wrong: list = attrs.field(factory=list)
    late: list = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)
    usd: object = 0
    costs: dict = attrs.field(factory=dict)
    reported: Counter = attrs.field(factory=Counter)
    tell: object = None

    async def run(self, troupe, calls):
        """Make the calls that have not ended yet, and wait for the last of them."""
        async with trio.open_nursery() as nursery:
            for number, call in enumerate(calls):
                if not self.reported[number]:
                    await trio.sleep(call.gap_s)
                    nursery.start_soon(self._call, troupe, number, call)

    async def _call(self, troupe, number, call):
        begun, end = trio.current_time(), "left"
        with trio.move_on_after(call.leaves_s):
            end = await self._ask(troupe, number, call)
        self.ends[end] += 1
        self.reported[number] += 1
        if self.tell is not None:
            self.tell(number, end, is_right=all(call is not wrong for wrong, _ in self.wrong))
        if trio.current_time() > begun + min(call.patience_s, call.leaves_s) + 1e-6:
            self.late.append(call)

    async def _ask(self, troupe, number, call):
        ask = {"timeout": call.patience_s, "call": f"call-{number}", "lane": call.lane}
        try:
            if call.is_stream:
                async with troupe.stream(call.request, **ask) as pieces:
                    *_, response = [piece async for piece in pieces]
            else:
                response = await troupe.complete(call.request, **ask)
        except (CallFailed, AskFailed) as error:
            if isinstance(error, CallFailed):
                self._note_cost(number, error)
            return type(error).__name__
        assert isinstance(response, Response)
        self._note_cost(number, response)
        self._note(call, response)
        return "answered"

    def _note_cost(self, number, end):
        """Note what a response or an error reports: an error has what was paid before it."""
        self.usage += end.usage
        self.usd += end.cost_usd or 0
        self.costs[number] = end.cost_usd

    def _note(self, call, response):
        self.routes[response.route] += 1
        self.from_fallbacks += response.fallback > 0
        if not has_mark(call, response, self.vectors):
            self.wrong.append((call, response))


def has_mark(call, response, vectors):
    """Return whether a response is to this call."""
    if call.request.task == "embedding":
        return response.embeddings == (vectors[call.mark],)
    texts = [choice.text for choice in response.choices] or [response.text]
    assert len(texts) == call.request.n
    word = re.compile(rf"(?<![\w-]){re.escape(call.mark)}(?![\w-])", re.IGNORECASE)
    return all(word.search(text) for text in texts)
