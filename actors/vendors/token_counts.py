"""Reads the numbers of tokens in a response, where they contradict each other too. Pure (R14)."""

import attrs

from ..responses import Usage


@attrs.frozen
class TokenCounts:
    """What a provider reports of the tokens of one call, by its own names for them.

    Providers differ in what their numbers contain: some report tokens of reasoning or of the cache
    beside the output and the prompt, some beside neither. Only the total shows it.

    Args:
        input: tokens of the prompt; None if they are not reported.
        output: tokens of the response; None if they are not reported.
        cached: tokens of the prompt that were read from the provider's cache.
        written: tokens of the prompt that were written to it.
        reasoning: tokens of reasoning.
        total: all tokens; None if it is not reported.
        kept_1h: those of `written` that the cache keeps for an hour.
        predicted: tokens of a predicted output that the response does not have, which are billed.
    """

    input: int | None
    output: int | None
    cached: int = 0
    written: int = 0
    reasoning: int = 0
    total: int | None = None
    kept_1h: int = 0
    predicted: int = 0

    @property
    def usage(self) -> Usage | None:
        """The tokens of the call, never less than any of the numbers; None if they are not known.

        They are not known if those of the prompt or of the response are missing, and in no total
        either. A detail that is larger than the sum it belongs to is beside that sum. Tokens that
        are in the total alone are output, the dearer kind, unless those of the prompt are missing.
        """
        if self._missing:
            return None
        prompt, output = self.input or 0, self.output or 0
        if self.cached + self.written > prompt:
            prompt += self.cached + self.written
        if self.reasoning + self.predicted > output:
            output += self.reasoning + self.predicted
        rest = max(0, (self.total or 0) - prompt - output)
        if self.input is None:
            prompt += rest
        else:
            output += rest
        return Usage(
            prompt,
            output,
            self.cached,
            self.written,
            self.reasoning,
            min(self.kept_1h, self.written),
        )

    @property
    def without_output(self) -> "TokenCounts":
        """The same numbers of a call whose response has no tokens, if they tell anything else."""
        is_empty = self.input is None and self.total is None
        return self if is_empty or self.output is not None else attrs.evolve(self, output=0)

    @property
    def doubt(self) -> str:
        """How the numbers contradict each other; "" if they do not."""
        if self._missing:
            both = self.input is None and self.output is None
            return "" if both else f"the tokens of the {self._missing} are not reported"
        prompt, output = self.input or 0, self.output or 0
        is_whole = self.input is not None and self.output is not None
        if self.total is not None and is_whole and self.total != prompt + output:
            return f"the total of {self.total} tokens is not {prompt} + {output}"
        if self.cached + self.written > prompt:
            return f"{self.cached + self.written} tokens of the cache are more than {prompt}"
        if self.reasoning > output:
            return f"{self.reasoning} tokens of reasoning are more than the {output} of the output"
        if self.reasoning + self.predicted > output:
            return f"{self.predicted} tokens of a prediction are more than {output} of the output"
        return ""

    @property
    def _missing(self) -> str:
        """What the numbers do not tell: "prompt", "response" or "call"; "" if they tell both."""
        if self.input is None and self.output is None:
            return "call"
        if self.total is not None:
            return ""
        return "prompt" if self.input is None else "response" if self.output is None else ""


NO_COUNTS = TokenCounts(None, None)
