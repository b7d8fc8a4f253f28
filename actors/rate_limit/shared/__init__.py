"""Limits that several processes share: each leases what it may use next from one store.

`SharedLimits` decides, without waiting (R14); a store runs it, in memory or on a server.
"""

from ...lazy import lazy_imports

with lazy_imports(__name__):
    from .core import SharedLimits as SharedLimits
    from .exchange import UNUSED_S as UNUSED_S
    from .exchange import Correction as Correction
    from .exchange import LaneDemand as LaneDemand
    from .exchange import Lease as Lease
    from .exchange import LeaseAsk as LeaseAsk
    from .exchange import LimitAsk as LimitAsk
    from .exchange import LimitGrant as LimitGrant
    from .exchange import LimitStore as LimitStore
    from .exchange import PlacesAsk as PlacesAsk
    from .exchange import SharedRate as SharedRate
    from .exchange import SharedRefusal as SharedRefusal
    from .memory import MemoryLimitStore as MemoryLimitStore
    from .valkey import ValkeyLimitStore as ValkeyLimitStore
