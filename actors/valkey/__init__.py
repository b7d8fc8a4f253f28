"""The one way to a Valkey or Redis server: its URL, its errors, scripts, and hints of changes.

The stores that processes share are on it: limits, budgets, cached responses and the rows of runs.
It needs coredis, which comes with the extra `valkey`, and is loaded when a server is first used.
"""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .client import Hints as Hints
    from .client import ServerScript as ServerScript
    from .client import ValkeyClient as ValkeyClient
    from .client import open_valkey as open_valkey
    from .errors import ServerAway as ServerAway
    from .errors import UnsuitableServer as UnsuitableServer
    from .url import SCHEMES as SCHEMES
    from .url import ServerUrl as ServerUrl
