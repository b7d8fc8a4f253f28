"""The table ``[shared]``: the server through which processes share limits, budgets and responses.

The URL may have a password, which does not belong in a file (L8): a variable has it then.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Self, final

import attrs

from ..actors import Outage
from .document import ConfigError
from .tables import join

if TYPE_CHECKING:
    from ..actors import SharedStores

SHARED = "shared"
"""The name of the table."""


@final
@attrs.frozen(kw_only=True)
class SharedTable:
    """The table ``[shared]``. Without a URL, nothing is shared.

    Args:
        url: the URL of a Valkey or Redis server, without a password; see `ServerUrl.parse`.
        url_env: the variable that has the URL, which may have a password there.
        outage: what a process does while the server is away: "divide" or "wait".
    """

    url: str | None = attrs.field(default=None, repr=False)
    url_env: str | None = None
    outage: Outage = "divide"

    def overridden(self, given: Collection[str]) -> Self:
        """Return the table without the URL of the file, where a variable has one.

        Args:
            given: the settings of the table that variables have.
        """
        if len({"url", "url_env"}.intersection(given)) != 1:
            return self
        if "url" in given:
            return attrs.evolve(self, url_env=None)
        return attrs.evolve(self, url=None)

    def location(self, environ: Mapping[str, str]) -> str | None:
        """Return the URL of the server, with its password; None if nothing is shared.

        Args:
            environ: the environment, which has the variable of `url_env`.
        """
        named = self.url if self.url_env is None else environ.get(self.url_env, "").strip()
        return named or None

    def stores(self, environ: Mapping[str, str], given: str | None = None) -> "SharedStores | None":
        """Return the stores on the server; None if nothing is shared. Nothing is connected yet.

        Args:
            environ: the environment, which has the variable of `url_env`.
            given: a URL that stands instead of that of the table; None for that.

        Raises:
            ConfigError: the URL names no server, or the variable is not set. The text names the
                setting, and has no password.
            ValueError: the given URL names no server.
        """
        if given is not None:
            return stores(given, self.outage)
        if self.url is not None and self.url_env is not None:
            problem = "must not stand beside url; remove one of them"
            raise ConfigError(problem, field=join(SHARED, "url_env"))
        if self.url_env is not None:
            return self._named(self.url_env, environ)
        if not self.url:
            return None
        try:
            return stores(self.url, self.outage)
        except ValueError as error:
            raise ConfigError(str(error), field=join(SHARED, "url")) from None

    def _named(self, variable: str, environ: Mapping[str, str]) -> "SharedStores":
        field, url = join(SHARED, "url_env"), environ.get(variable, "").strip()
        if not url:
            raise ConfigError(f"the variable {variable:.80} is not set", field=field)
        try:
            return stores(url, self.outage)
        except ValueError as error:
            raise ConfigError(f"the variable {variable:.80}: {error}", field=field) from None


def stores(url: str, outage: Outage) -> "SharedStores":
    """Return the stores on a server.

    Args:
        url: the URL of a Valkey or Redis server.
        outage: what a process does while the server is away.

    Raises:
        ValueError: the URL names no server.
    """
    from ..actors import stores_at  # noqa: PLC0415  # most programs share nothing

    return stores_at(url, outage=outage)
