"""A call that reads texts and generates none: embeddings and moderations."""

import attrs

from .cacheable import NOTHING_TO_CACHE, CacheablePrompt
from .prompt import Texts


@attrs.frozen(kw_only=True)
class TextsCall:
    """What parsed calls have in common that generate nothing (see `ModelCall`).

    Args:
        model: the model that is requested.
        inputs: the texts to read.
    """

    model: str
    inputs: Texts

    @property
    def tier(self) -> str:
        """The only service tier."""
        return "default"

    @property
    def prompt_key(self) -> str:
        """Canonical JSON of the inputs."""
        return self.inputs.key

    @property
    def estimated_tokens(self) -> int:
        """The tokens of all inputs."""
        return self.inputs.tokens

    @property
    def max_output_tokens(self) -> int:
        """0: nothing is generated."""
        return 0

    @property
    def stream(self) -> bool:
        """False: nothing is generated that could be streamed."""
        return False

    @property
    def to_cache(self) -> CacheablePrompt:
        """Nothing: these prompts are never cached."""
        return NOTHING_TO_CACHE
