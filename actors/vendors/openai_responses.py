"""OpenAI's Responses format. What is read and written are modules of their own."""

from typing import ClassVar

import attrs

from ..json_value import Json
from ..messages import Request
from .decoding import read_error
from .encoding import add_extra, check_supported
from .format import ApiError, DecodedResponse, StreamDecoder, UnsupportedField
from .openai_response_input import input_items
from .openai_response_output import read_response
from .openai_response_stream import ResponsesDecoder
from .tool_members import responses_tools
from .translation import translated

_RESERVED = frozenset({"stream", "input"})


@attrs.frozen(kw_only=True)
class OpenAIResponses:
    """`POST /responses`.

    Args:
        path_name: what is appended to the base URL.
        stores: whether the server knows ``store``.
        has_text: whether a schema is sent in ``text``; otherwise in ``response_format``, as in a
            chat.
        names_messages: whether each message names its type.
        strict_tools: as for `OpenAIChat`.
        unknown: fields of `Request` that the server does not support.
    """

    name = "OpenAI's Responses format"
    form = "responses"
    streams = True
    supports: ClassVar[frozenset[str]] = frozenset(
        {
            *("messages", "max_tokens", "temperature", "top_p", "json_schema", "returns"),
            *("tools", "tool_choice"),
        }
    )

    path_name: str = "/responses"
    stores: bool = True
    has_text: bool = True
    names_messages: bool = False
    strict_tools: bool = False
    unknown: frozenset[str] = frozenset()

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all requests
        """Return what to append to the base URL."""
        return self.path_name

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        By default the provider stores no response. ``extra_body={"store": True}`` lets it, and None
        leaves that to the provider.

        Raises:
            UnsupportedField: the format does not support a field of the request.
        """
        request = translated(request, self.form, self.name)
        check_supported(request, self.name, self.supports, self.unknown)
        if request.extra_body.get("background"):
            why = "its response would have to be fetched later"
            raise UnsupportedField("background", self.name, why)
        body: dict[str, Json] = {
            "model": request.model,
            "input": input_items(request.messages, self.name, names_messages=self.names_messages),
        }
        if self.stores:
            body["store"] = False
        if request.max_tokens is not None:
            body["max_output_tokens"] = request.max_tokens
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if (output := request.output_schema) is not None:
            schema: dict[str, Json] = {
                "name": output.name,
                "strict": not output.not_strict,
                "schema": dict(output.schema),
            }
            if self.has_text:
                body["text"] = {"format": {"type": "json_schema", **schema}}
            else:
                body["response_format"] = {"type": "json_schema", "json_schema": schema}
        body |= responses_tools(request, strict=self.strict_tools)
        if stream:
            body["stream"] = True
        body = add_extra(body, request, self.name, _RESERVED)
        if body.get("store", "") is None:
            del body["store"]
        return body

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:  # noqa: ARG002  # always one choice
        """Read a response body, or the error in it.

        Raises:
            Malformed: it is neither, or the response is not finished.
        """
        return read_response(body)

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body, in any of its shapes."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Return a decoder for one streamed response."""
        return ResponsesDecoder(lambda body: self.decode(body, request))
