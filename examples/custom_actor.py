"""Run an actor of your own beside the troupe, under the same supervisor.

`Editor` counts the words that it has approved. It has a bug: an empty text crashes it. The
supervisor starts a new incarnation. The ref stays valid, the mailbox keeps its messages, and the
troupe keeps running.

    python examples/custom_actor.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import sys
from functools import partial

import attrs
import trio

from callsheet import (
    Actor,
    Message,
    Troupe,
    TroupeSettings,
    cast_troupe,
    handles,
    open_endpoint,
    open_runtime,
)
from callsheet.runtime import ActorCrashed

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"


@attrs.frozen
class Approve(Message[int]):
    """Ask for approval; the reply is the number of words approved so far."""

    markdown: str


class TooShort(Exception):
    """A declared error: the caller gets it as a reply, and the actor does not crash."""


class Editor(Actor):
    """Approves posts of at least `least_words` words."""

    def __init__(self, least_words: int) -> None:
        self.least_words = least_words
        self.approved_words = 0

    @handles(Approve, raises=(TooShort,))
    async def approve(self, message: Approve) -> int:
        words = len(message.markdown.split())
        if words and words < self.least_words:
            raise TooShort(f"{words} words, at least {self.least_words} are required")
        headline = message.markdown.split("\n# ")[1].splitlines()[0]
        print(f"approved: {headline}")
        self.approved_words += words
        return self.approved_words


async def main() -> None:
    async with open_endpoint(PROVIDER) as endpoint, open_runtime("newsroom") as runtime:
        troupe: Troupe = await cast_troupe(runtime, TroupeSettings(endpoint=endpoint))
        editor = await runtime.spawn("editor", partial(Editor, least_words=20))

        post = await troupe.compose("Why backpressure matters")
        print(f"{await editor.ask(Approve(post.markdown))} words approved")

        try:
            await editor.ask(Approve("Hm."))
        except TooShort as error:
            print(f"declined: {error}")

        try:
            await editor.ask(Approve(""))  # the bug
        except ActorCrashed as crash:
            print(f"crashed: {crash}")

        print(f"{await editor.ask(Approve(post.markdown))} words approved by the next editor")
        print(f"incarnation {runtime.snapshot()['newsroom/editor'].incarnation} of the editor")


if __name__ == "__main__":
    trio.run(main)
