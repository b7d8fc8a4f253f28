"""Settings from a TOML file and from variables, for programs and for the commands."""

from .document import ConfigError, read_document, read_variables
from .endpoints import ChosenEndpoint, EndpointTables
from .settings import Config, load_settings, located, read_config
from .shared import SHARED, SharedTable
from .tables import as_table, explained, is_table, join, read_table, shown
from .variables import ADMIN_KEY_VARIABLE, CONFIG_VARIABLE, SHARED_URL_VARIABLE, truth_of

__all__ = [
    "ADMIN_KEY_VARIABLE",
    "CONFIG_VARIABLE",
    "SHARED",
    "SHARED_URL_VARIABLE",
    "ChosenEndpoint",
    "Config",
    "ConfigError",
    "EndpointTables",
    "SharedTable",
    "as_table",
    "explained",
    "is_table",
    "join",
    "load_settings",
    "located",
    "read_config",
    "read_document",
    "read_table",
    "read_variables",
    "shown",
    "truth_of",
]
