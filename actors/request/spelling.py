"""What refusals teach about the spelling of bodies, for one endpoint and model (L15). Pure (R14).

A body is sent as the user wrote it. Where the provider refuses a parameter by name, and the same
request can be written without it or with another name, it is sent once more in that way; if the
provider accepts it, later requests to that model are written so from the start.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus

import attrs

from ..json_value import Json
from ..vendors import ApiError
from .schema_spelling import SchemaForm, next_form, refuses_schemas

_REFUSING = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, None)  # None: within a 200
_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Members that nothing in a request asks for, and the names by which they are refused.
_OURS = {"stream_options": ("stream_options", "include_usage"), "store": ("store",)}
_MAX_MODELS = 1000  # remembered; more can only be names that a user makes up
_QUOTES = "'\"`\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"

# The words of a provider that does not know a parameter, rather than dislikes its value.
_UNKNOWN = re.compile(
    r"unsupport|unrecogni|unknown|unexpected|deprecated|forbidden|\binstead\b|no longer|no such"
    r"|rather than|disabled|must be (?:set to )?false"
    r"|\bextra (?:field|input|param)|additional propert|invalid (?:arg|field|key|param|prop)"
    r"|(?:not|n't) (?:be )?(?:accept|allow|enabl|exist|implement|permit|recogni|support|used)",
    re.IGNORECASE,
)
# The words of a provider that refuses streams without naming the parameter.
_NO_STREAMS = re.compile(
    r"\bstream(?:s|ing|ed)?(?: ?[=:] ?true)?(?: mode| requests?| responses?)?"
    r"(?: (?:is|are))?(?: currently| yet)? (?:not|un|dis)(?: |supp|avail|abled)"
    r"|(?:not|n't)(?: yet| currently)? (?:accept|allow|support)(?:ed)?"
    r" (?:streams?\b|(?:\w+ ){0,2}stream(?:s|ing)\b)"
    r"|(?:not|n't) be streamed\b|\bonly non-?stream",
    re.IGNORECASE,
)
_NEVER_REFUSED = frozenset({"stream", *_OURS, "model", "messages", "input", "prompt"})
_OTHER_WORDS = {"tools": "tools?|functions?", "logprobs": "logprobs?|log prob"}


@attrs.frozen
class Spelling:
    """How the bodies for one model at one endpoint differ from what is written.

    Args:
        renamed: other names of members, by the names as written.
        left_out: members that are left out.
        is_whole: whether responses are requested whole, because streams are refused.
        whole_with: members of a body beside which streams are refused.
        schema: how structured output is requested.
    """

    renamed: Mapping[str, str] = attrs.field(factory=dict[str, str])
    left_out: frozenset[str] = frozenset()
    is_whole: bool = False
    whole_with: frozenset[str] = frozenset()
    schema: SchemaForm = "enforced"

    def wants_whole(self, body: Mapping[str, Json]) -> bool:
        """Return whether the response to a body is requested whole.

        Args:
            body: the body as written.
        """
        return self.is_whole or not self.whole_with.isdisjoint(body)

    def apply(self, body: dict[str, Json]) -> dict[str, Json]:
        """Return a body in this spelling.

        Args:
            body: the body as written; it may be changed.
        """
        if not self.renamed and not self.left_out:
            return body
        return {
            self.renamed.get(name, name): value
            for name, value in body.items()
            if name not in self.left_out
        }

    def avoiding(
        self,
        error: ApiError,
        status: int | None,
        sent: Mapping[str, Json],
        written: Mapping[str, Json],
        *,
        is_typed: bool = False,
    ) -> "Spelling | None":
        """Return the spelling that also avoids what a refusal names; None if there is none.

        Args:
            error: the provider's words.
            status: the HTTP status of the refusal; None for an error within a 200.
            sent: the body that was sent, in this spelling.
            written: the members of it that the user wrote; they are never left out.
            is_typed: whether the request has structured output, whose text is validated.
        """
        if status not in _REFUSING:
            return None
        return (
            self._with_other_members(error, sent, written)
            or self._without_streams(error, sent)
            or (self._with_described_schema(error, sent, written) if is_typed else None)
        )

    def _with_other_members(
        self, error: ApiError, sent: Mapping[str, Json], written: Mapping[str, Json]
    ) -> "Spelling | None":
        for name, other in _LIMITS.items():
            # A name that replaces another one is not replaced again.
            if name in sent and name not in self.renamed.values() and names(error, name):
                return attrs.evolve(self, renamed={**self.renamed, name: other})
        for name, known_as in _OURS.items():
            is_ours = name in sent and name not in written
            is_named = name in error.parameters or any(names(error, each) for each in known_as)
            if is_ours and is_named:
                return attrs.evolve(self, left_out=self.left_out | {name})
        return None

    def _without_streams(self, error: ApiError, sent: Mapping[str, Json]) -> "Spelling | None":
        if sent.get("stream") is not True or not _refuses_streams(error):
            return None
        # "n > 1 is not supported in streaming mode": only requests with that member are affected.
        others = {name for name in sent if name not in _NEVER_REFUSED and _mentions(error, name)}
        if others:
            return attrs.evolve(self, whole_with=self.whole_with | others)
        return attrs.evolve(self, is_whole=True)

    def _with_described_schema(
        self, error: ApiError, sent: Mapping[str, Json], written: Mapping[str, Json]
    ) -> "Spelling | None":
        if self.schema == "described" or not refuses_schemas(error, sent, written):
            return None
        return attrs.evolve(self, schema=next_form(self.schema, sent))

    def caused(self, error: ApiError) -> bool:
        """Return whether a refusal is for what this spelling has put in the place of a parameter.

        Args:
            error: the provider's words.
        """
        return any(names(error, name) for name in self.renamed.values())


def _refuses_streams(error: ApiError) -> bool:
    return (
        "stream" in error.parameters
        or names(error, "stream")
        or _NO_STREAMS.search(_outside_quotes(error.message)) is not None
    )


def _mentions(error: ApiError, member: str) -> bool:
    words = _OTHER_WORDS.get(member) or re.escape(member)
    return (
        re.search(rf"(?<![\w.\-])(?:{words})(?![\w\-])", error.message, re.IGNORECASE) is not None
    )


def names(error: ApiError, parameter: str) -> bool:
    """Return whether a refusal names a parameter as one that the provider does not support.

    A text must quote it, or have its name with an underscore as a word of its own: a text about a
    tool named 'read stream' is not about the parameter "stream".

    Args:
        error: the provider's words.
        parameter: the name of a member of the body.
    """
    if parameter in error.parameters:
        return bool(_UNKNOWN.search(f"{error.message} {error.code} {error.type}".replace("_", " ")))
    if error.parameters or not _UNKNOWN.search(error.message):
        return False
    name = re.escape(parameter)
    pattern = rf"[{_QUOTES}]{name}[{_QUOTES}]"
    if "_" in parameter:
        pattern += rf"|(?<![\w.\-]){name}(?![\w\-])"
    return re.search(pattern, error.message) is not None


def _outside_quotes(text: str) -> str:
    """Return a text without what it quotes: names and values that a user has chosen."""
    return re.sub(rf"([{_QUOTES}])(?:(?!\1).)*\1", "...", text)


class Spellings:
    """The spellings that one endpoint has taught, by model."""

    def __init__(self) -> None:
        self._by_model: dict[str, Spelling] = {}

    def of(self, model: str) -> Spelling:
        """Return the spelling for a model.

        Args:
            model: the model that the request names.
        """
        return self._by_model.get(model, AS_WRITTEN)

    def learn(self, model: str, spelling: Spelling) -> bool:
        """Use a spelling for a model from now on; return whether that is new.

        Args:
            model: the model that the request names.
            spelling: one that the provider has accepted.
        """
        if self.of(model) == spelling:
            return False
        if len(self._by_model) >= _MAX_MODELS:
            self._by_model.clear()
        self._by_model[model] = spelling
        return True


AS_WRITTEN = Spelling()
"""The spelling of an endpoint that has refused nothing."""
