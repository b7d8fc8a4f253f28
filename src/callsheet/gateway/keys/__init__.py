"""Keys of the gateway: who calls, what a key may use, and its own limits and budgets."""

from .file import KeyFile, default_key_store
from .issuing import GRACE_S, IssuedKey
from .key import ALLOWABLE, ApiKey, InvalidKey, KeyTerms
from .known import ValidKeys
from .store import NO_SERVER, SHARED_KEYS, KeyPlace, KeyStore, key_store
from .tenant import Tenant, Tenants, TenantTurn
from .turn_leases import TurnLeases
from .turns import OwnLimit, OwnLimits

__all__ = [
    "ALLOWABLE",
    "GRACE_S",
    "NO_SERVER",
    "SHARED_KEYS",
    "ApiKey",
    "InvalidKey",
    "IssuedKey",
    "KeyFile",
    "KeyPlace",
    "KeyStore",
    "KeyTerms",
    "OwnLimit",
    "OwnLimits",
    "Tenant",
    "TenantTurn",
    "Tenants",
    "TurnLeases",
    "ValidKeys",
    "default_key_store",
    "key_store",
]
