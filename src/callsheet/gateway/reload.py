"""What changes when the file of a running gateway is read again. Pure (R14)."""

from collections.abc import Mapping
from typing import final

import attrs

from ..actors import TroupeSettings
from .settings import GatewaySettings

_WHILE_RUNNING = {  # {setting: its name in the file}
    "routes": "models",
    "patience_s": "patience_s",
    "drain_s": "drain_s",
    "allow": "allow",
    "public_metrics": "public_metrics",
}
_AT_START = {  # {setting: its path in the file}
    "listen": "gateway.listen",
    "clients": "gateway.clients",
    "tls": "gateway.tls",
    "trusted_proxies": "gateway.trusted_proxies",
    "keys": "keys.store",
    "shared": "shared.url",
    "admin_key": "gateway.admin_key_env",
    "log": "gateway.log",
    "shows_text": "gateway.shows_text",
}


@final
@attrs.frozen(kw_only=True)
class SettingsChange:
    """How the settings of a gateway differ from those that it runs with.

    Args:
        started: the troupes that are to be added.
        ended: the troupes that no model uses any more.
        recast: the troupes that a new one replaces, because more than their limits has changed.
        limited: the troupes that get other limits.
        others: what else has changed, such as "models".
        needs_restart: the settings that have changed, and that count at the next start.
    """

    started: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    recast: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The change in words, such as "new limits of main; started spare"."""
        parts = (
            ("started", self.started),
            ("ended", self.ended),
            ("began anew", self.recast),
            ("new limits of", self.limited),
            ("new:", self.others),
            ("after a restart:", self.needs_restart),
        )
        return "; ".join(f"{words} {', '.join(names)}" for words, names in parts if names)


def change_of(old: GatewaySettings, new: GatewaySettings) -> SettingsChange:
    """Return how settings differ.

    Args:
        old: the settings that a gateway runs with.
        new: those of its file now.
    """
    both = [name for name in old.troupes if name in new.troupes]
    changed = [name for name in both if old.troupes[name] != new.troupes[name]]
    limited = [name for name in changed if _is_limited(old.troupes[name], new.troupes[name])]
    return SettingsChange(
        started=tuple(name for name in new.troupes if name not in old.troupes),
        ended=tuple(name for name in old.troupes if name not in new.troupes),
        recast=tuple(name for name in changed if name not in limited),
        limited=tuple(limited),
        others=_differing(_WHILE_RUNNING, old, new),
        needs_restart=_differing(_AT_START, old, new),
    )


def _differing(
    names: Mapping[str, str], old: GatewaySettings, new: GatewaySettings
) -> tuple[str, ...]:
    return tuple(shown for name, shown in names.items() if getattr(old, name) != getattr(new, name))


def _is_limited(old: TroupeSettings, new: TroupeSettings) -> bool:
    """Return whether only limits differ, and in a way that a running troupe can take."""
    if old.member_limits != new.member_limits:
        return False
    most = max(old.limits.in_flight, old.max_in_flight or 0)
    return new.limits.in_flight <= most and attrs.evolve(new, limits=old.limits) == old
