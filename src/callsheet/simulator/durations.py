"""Format times for the vendors' headers."""

from datetime import UTC, datetime

MS_PER_S = 1000
# Rounding of floats: a wait below a microsecond counts as none.
INSTANT_S = 1e-6


def go_duration(seconds: float) -> str:
    """Format a duration as Go does, truncated to milliseconds: "120ms", "8.64s", "6m0s"."""
    total_ms = int(seconds * MS_PER_S + INSTANT_S)
    if total_ms < MS_PER_S:
        return f"{total_ms}ms" if total_ms else "0s"
    total_s, ms = divmod(total_ms, MS_PER_S)
    minutes, s = divmod(total_s, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{ms:03}".rstrip("0") if ms else ""
    return (
        f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{s}{fraction}s"
    )


def rfc3339(seconds: float) -> str:
    """Format a time, given in seconds since 1970, truncated to seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
