"""Settings from a TOML file and from variables, for programs and for the commands."""

from .document import ConfigError, read_document, read_variables
from .settings import Config, load_settings, read_config
from .variables import CONFIG_VARIABLE, truth_of

__all__ = [
    "CONFIG_VARIABLE",
    "Config",
    "ConfigError",
    "load_settings",
    "read_config",
    "read_document",
    "read_variables",
    "truth_of",
]
