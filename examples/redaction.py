"""Keep personal data at home: take it out of requests, and put it back into responses.

`Redactor` stands in the way of each call. It replaces e-mail addresses and telephone numbers by
placeholders before a request leaves, and replaces the placeholders in the response again. In a
stream, a placeholder may be split over two pieces, so the beginning of one is held back until the
rest of it has arrived.

It stands before the cache and the batcher, so that neither a file of the cache nor a shared prompt
has personal data. A placeholder follows from what it stands for and a key: the same address has the
same placeholder in each request, so that equal requests are still joined and found in the cache.

    python examples/redaction.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY. (The
built-in provider does not repeat what it is asked, so nothing is put back into its responses.)
"""

import hashlib
import re
import secrets
import sys
from collections.abc import AsyncGenerator
from functools import partial

import attrs
import trio

from callsheet import (
    CallContext,
    Ref,
    Request,
    Response,
    Stage,
    TroupeSettings,
    insert,
    open_endpoint,
    open_troupe,
    replace_text,
)
from callsheet.actors import CachePolicy, Complete, Delta, Stream

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"

PERSONAL = re.compile(
    r"(?P<EMAIL>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<PHONE>\+\d[\d ()/-]{6,}\d)"
)
PLACEHOLDER = re.compile(r"<(?:EMAIL|PHONE)-[0-9a-f]{16}>")
BEGUN = re.compile(
    r"<[A-Z]{0,5}(?:(?<=EMAIL|PHONE)-[0-9a-f]{0,16})?$"
)  # may be the beginning of one


class Vault:
    """The placeholders and what they stand for. It is in memory only.

    Args:
        key: makes placeholders that only this key makes; give the same one to each run whose cache
            is to find what another one has stored.
    """

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.hidden: dict[str, str] = {}  # {placeholder: what it stands for}

    def hide(self, text: str) -> str:
        """Replace personal data by placeholders."""
        return PERSONAL.sub(self._placeholder, text)

    def show(self, text: str) -> str:
        """Replace the placeholders that this vault has made."""
        return PLACEHOLDER.sub(lambda found: self.hidden.get(found[0], found[0]), text)

    def _placeholder(self, found: re.Match[str]) -> str:
        # 64 bits: with fewer, two of some ten thousand addresses could have one placeholder.
        digest = hashlib.blake2b(found[0].encode(), key=self.key, digest_size=8).hexdigest()
        placeholder = f"<{found.lastgroup}-{digest}>"
        self.hidden[placeholder] = found[0]
        return placeholder


class Redactor(Stage):
    """Hides personal data from the stages behind it, and from the provider."""

    def __init__(self, to: Ref[Complete | Stream], vault: Vault) -> None:
        super().__init__(to)
        self.vault = vault

    async def outgoing(self, request: Request, context: CallContext) -> Request:
        return replace_text(request, self.vault.hide)

    async def incoming(self, response: Response, context: CallContext) -> Response:
        return replace_text(response, self.vault.show)

    async def incoming_pieces(
        self, pieces: AsyncGenerator[Delta], context: CallContext
    ) -> AsyncGenerator[Delta]:
        held: dict[int, str] = {}  # {index of a choice: what may be the beginning of a placeholder}
        async for piece in pieces:
            text = held.pop(piece.index, "") + piece.text
            if begun := BEGUN.search(text):
                held[piece.index] = text[begun.start() :]
                text = text[: begun.start()]
            shown = replace_text(attrs.evolve(piece, text=text), self.vault.show)
            if shown != Delta(index=piece.index):
                yield shown
        for index, text in held.items():  # it was none
            yield Delta(text, index)


async def main() -> None:
    vault = Vault(secrets.token_bytes(16))
    seen: list[str] = []

    class Witness(Stage):
        """Stands at the end, and sees what leaves."""

        async def outgoing(self, request: Request, context: CallContext) -> Request:
            seen.append(request.messages[-1].content)
            return request

    async with open_endpoint(PROVIDER) as endpoint:
        settings = TroupeSettings(
            endpoint=endpoint,
            cache=CachePolicy(path=None),
            stages=[
                insert(partial(Redactor, vault=vault), before="cache"),
                insert(Witness, before="requester"),
            ],
        )
        request = Request.of(
            "Repeat this line: Ada's address is ada@example.org, her number +47 22 85 50 50.",
            model="gpt-5.4-nano",
            cacheable=True,
        )
        async with open_troupe(settings) as troupe:
            response = await troupe.complete(request, timeout=60)
            again = await troupe.complete(request, timeout=60)
            print(f"The provider got: {seen[0]}")
            print(f"The caller got: {response.text}")
            print(f"The second time, from the {again.route}: {again.text == response.text}")
            print("As a stream: ", end="")
            async with troupe.stream(request, timeout=60) as items:
                async for item in items:
                    if not isinstance(item, Response):
                        print(item.text, end="", flush=True)
            print()


if __name__ == "__main__":
    trio.run(main)
