"""A refused request, before a vendor formats its body (see `SimulatedVendor.error_body`)."""

import attrs


@attrs.frozen(eq=False)
class RequestRefused(Exception):
    """A request is refused: the status and the content of the error response.

    Args:
        status: the HTTP status.
        message: what is wrong.
        type: the type of the error; Anthropic's follows from the status alone.
        param: the member of the body that is invalid.
        code: the machine-readable code of the error.
        headers: further headers of the response.
    """

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = attrs.field(factory=dict[str, str])

    @classmethod
    def no_such_url(cls, method: str, path: str) -> "RequestRefused":
        """Return the 404 for an unknown path."""
        return cls(404, f"Invalid URL ({method} {path})")

    @classmethod
    def no_such_method(cls, method: str, allowed: str) -> "RequestRefused":
        """Return the 405 for a method that the path does not support."""
        return cls(
            405,
            f"Not allowed to {method} on this URL. Only {allowed} requests are accepted.",
            code="method_not_supported",
            headers={"allow": allowed},
        )

    @classmethod
    def context_exceeded(cls, most: int, prompt: int, answer: int, param: str) -> "RequestRefused":
        """Return the 400 for a prompt and response longer than the model's context."""
        return cls(
            400,
            f"This model's maximum context length is {most} tokens. However, you requested "
            f"{prompt + answer} tokens ({prompt} in the {param}, {answer} in the completion). "
            f"Please reduce the length of the {param} or completion.",
            param=param,
            code="context_length_exceeded",
        )

    @classmethod
    def unsupported(cls, param: str, given: str, known: tuple[str, ...]) -> "RequestRefused":
        """Return the 400 for a member with an unsupported value."""
        listed = ", ".join(f"'{name}'" for name in known)
        return cls(
            400,
            f"Invalid value: '{given}'. Supported values are: {listed}.",
            param=param,
            code="invalid_value",
        )
