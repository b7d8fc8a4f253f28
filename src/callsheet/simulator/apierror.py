"""A refusal, before a vendor puts it into its own words (see `Vendor.error_body`)."""

import attrs

__all__ = [
    "RequestRefused",
]


@attrs.frozen(eq=False)
class RequestRefused(Exception):
    """A request is refused: the answer's status, and what its body says.

    Args:
        status: the HTTP status.
        message: what is wrong, for people.
        type: the class of the error; Anthropic's follows from the status alone.
        param: the member of the body at fault.
        code: the error, for programs.
        headers: further headers of the answer.
    """

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = attrs.field(factory=dict[str, str])

    @classmethod
    def no_such_url(cls, method: str, path: str) -> "RequestRefused":
        """404: nothing is there."""
        return cls(404, f"Invalid URL ({method} {path})")

    @classmethod
    def no_such_method(cls, method: str, allowed: str) -> "RequestRefused":
        """405: something is there, but not for this method."""
        return cls(
            405,
            f"Not allowed to {method} on this URL. Only {allowed} requests are accepted.",
            code="method_not_supported",
            headers={"allow": allowed},
        )

    @classmethod
    def context_exceeded(cls, most: int, prompt: int, answer: int, param: str) -> "RequestRefused":
        """400: prompt and answer are longer than the model's context."""
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
        """400: a member has a value that is none of those it may have."""
        listed = ", ".join(f"'{name}'" for name in known)
        return cls(
            400,
            f"Invalid value: '{given}'. Supported values are: {listed}.",
            param=param,
            code="invalid_value",
        )
