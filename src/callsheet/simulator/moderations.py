"""The endpoint POST /v1/moderations: the kinds of harm in texts, which are made up from words.

A text with the name of a kind in it, such as "violence", is flagged as one of that kind.
"""

from collections.abc import Mapping

import attrs

from .body import RequestBody, invalid_type
from .call import AnswerContext, ModelAnswer, Piece, TextsCall
from .prompt import Texts
from .settings import ProviderSettings
from .wire import Json, canonical, compact

_MEMBERS = frozenset({"input", "model"})
_DEFAULT_MODEL = "omni-moderation-latest"
_KINDS = (
    "hate", "hate/threatening", "harassment", "harassment/threatening", "illicit",
    "illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions", "sexual",
    "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
_FLAGGED, _CLEAN = 0.97, 0.0001


@attrs.frozen(kw_only=True)
class ModerationsCall(TextsCall):
    """Parsed moderations (see `ModelCall`)."""

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "ModerationsCall":
        """Parse a request. A list of parts is one input, of the texts of its parts.

        Raises:
            RequestRefused: the request is invalid.
        """
        if settings.refuses_unknown:
            body.refuse_unknown(_MEMBERS)
        given = body.required("input")
        items: list[Json] = given if isinstance(given, list) else [given]
        texts = [one for one in items if isinstance(one, str)]
        parts = [one for one in items if isinstance(one, dict)]
        if not items or len(texts) + len(parts) < len(items) or (texts and parts):
            raise invalid_type(body.at + "input", "a string, strings or parts", given)
        if parts:
            texts = [" ".join(str(part.get("text", "")) for part in parts)]
        return cls(
            model=body.text("model") or _DEFAULT_MODEL, inputs=Texts(texts, canonical(given))
        )

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Classify every input, in order."""
        results: list[Json] = [_result(str(text)) for text in self.inputs.items]
        body: Mapping[str, Json] = {
            "id": f"modr-{context.hex}",
            "model": self.model,
            "results": results,
        }
        return ModelAnswer((Piece(compact(body)),), 0)


def _result(text: str) -> Json:
    found = {kind: kind in text.lower() for kind in _KINDS}
    return {
        "flagged": any(found.values()),
        "categories": dict(found),
        "category_scores": {kind: _FLAGGED if is_so else _CLEAN for kind, is_so in found.items()},
        "category_applied_input_types": {kind: ["text"] for kind in _KINDS},
    }
