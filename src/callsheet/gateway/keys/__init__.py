"""Keys of the gateway: who calls, what a key may use, and its own limits and budgets."""

from .key import ALLOWABLE, ApiKey, InvalidKey, KeyTerms
from .store import IssuedKey, KeyChanges, KeyStore, default_key_store
from .tenant import Tenant, Tenants, TenantTurn
from .turns import OwnLimit, OwnLimits

__all__ = [
    "ALLOWABLE",
    "ApiKey",
    "InvalidKey",
    "IssuedKey",
    "KeyChanges",
    "KeyStore",
    "KeyTerms",
    "OwnLimit",
    "OwnLimits",
    "Tenant",
    "TenantTurn",
    "Tenants",
    "default_key_store",
]
