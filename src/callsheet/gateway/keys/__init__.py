"""Keys of the gateway: who calls, what a key may use, and its own limits and budgets."""

from .key import ALLOWABLE, ApiKey, InvalidKey, KeyTerms
from .store import IssuedKey, KeyStore, default_key_store

__all__ = [
    "ALLOWABLE",
    "ApiKey",
    "InvalidKey",
    "IssuedKey",
    "KeyStore",
    "KeyTerms",
    "default_key_store",
]
