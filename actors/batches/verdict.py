"""What came of one line: an answer, or the error that it would have been as a live call."""

from http import HTTPStatus

import attrs

from ..errors import CallFailed, MalformedAnswer, ProviderUnavailable
from ..messages import Request
from ..request import classify, is_retried, without_key
from ..vendors import Answer, ApiError, Endpoint, LineResult, Malformed, WireFormat

__all__ = ["Unanswered", "judge"]

_MESSAGE_CHARS = 300  # of a provider's error text: enough to see what it is about


@attrs.frozen
class Unanswered:
    """A line has no answer.

    Args:
        error: what the asker gets, unless it is asked again.
        is_retried: whether a live call may fare better.
        maybe_billed: the provider may have charged for it (L3).
    """

    error: CallFailed
    is_retried: bool
    maybe_billed: bool = False


def judge(
    result: LineResult, form: WireFormat, request: Request, endpoint: Endpoint
) -> Answer | Unanswered:
    """What came of a line.

    Args:
        result: of the line.
        form: reads the answer.
        request: what was asked.
        endpoint: who answered; its key is in no error (L8).
    """
    said = result.said
    if result.status == 0:
        why = said or ApiError()
        words = _quoted(why.message or why.code or "no reason given", endpoint)
        text = f"{endpoint.host} did not run a line of a batch: {words}"
        return Unanswered(ProviderUnavailable(text), is_retried=True)
    if said is None and result.status == HTTPStatus.OK:
        try:
            answer = form.decode(result.body, request)
        except Malformed as error:
            text = f"{endpoint.host} answered 200 in a batch, but not with a completion: "
            wrong = MalformedAnswer(text + _quoted(str(error), endpoint), billed="maybe")
            return Unanswered(wrong, is_retried=True, maybe_billed=True)
        if isinstance(answer, Answer):
            return answer
        said = answer
    said = said or form.decode_error(result.body)
    kind, remedy = classify(result.status, said)
    words = _quoted(said.message or said.code or said.type or "no reason given", endpoint)
    status = None if result.status == HTTPStatus.OK else result.status
    number = "an error" if status is None else status
    failed = kind(
        f"{endpoint.host} answered {number} in a batch: {words}{remedy}",
        status=status,
        body=without_key(endpoint, result.body),
        request_id=endpoint.scrub(result.request_id),
    )
    return Unanswered(failed, is_retried=is_retried(kind, should_retry=None))


def _quoted(words: str, endpoint: Endpoint) -> str:
    """What a provider said, on one line, not too long, and without the key (L8)."""
    line = endpoint.scrub(" ".join(words.split()))
    return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}..."
