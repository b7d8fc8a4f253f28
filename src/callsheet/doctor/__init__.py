"""Examine an installation and its environment: what is there, what is missing, what is wrong."""

from .finding import DoctorReport, Finding, FindingState
from .machine import WrittenPlace, examine_installation, examine_places
from .provider import examine_environment, examine_provider
from .server import examine_server

__all__ = [
    "DoctorReport",
    "Finding",
    "FindingState",
    "WrittenPlace",
    "examine_environment",
    "examine_installation",
    "examine_places",
    "examine_provider",
    "examine_server",
]
