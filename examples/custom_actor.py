"""An actor of your own beside the troupe, under the same supervisor.

`Editor` keeps count of the words it has approved. It has a bug: an empty text crashes it. The
supervisor starts a new one; the ref stays valid, what waits in its mailbox waits on, and the troupe
does not notice.
"""

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


@attrs.frozen
class Approve(Message[int]):
    """Ask for approval; the answer is how many words this editor has approved so far."""

    markdown: str


class TooShort(Exception):
    """A declared error: it is an answer, not a crash."""


class Editor(Actor):
    """Approves posts of at least so many words."""

    def __init__(self, least_words: int) -> None:
        self.least_words = least_words
        self.approved_words = 0

    @handles(Approve, raises=(TooShort,))
    async def approve(self, message: Approve) -> int:
        words = len(message.markdown.split())
        if words and words < self.least_words:
            raise TooShort(f"{words} words, {self.least_words} are wanted")
        headline = message.markdown.split("\n# ")[1].splitlines()[0]
        print(f"approved: {headline}")
        self.approved_words += words
        return self.approved_words


async def main() -> None:
    async with open_endpoint() as endpoint, open_runtime("newsroom") as runtime:
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
