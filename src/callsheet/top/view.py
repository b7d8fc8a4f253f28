"""What the user of `callsheet top` looks at, and what each key changes. Pure (R14)."""

from typing import Literal

import attrs

SectionName = Literal[
    "Calls",
    "Lanes",
    "Limits",
    "Tree",
    "Spend",
    "Errors",
    "Endpoints",
    "Cache",
    "Workers",
    "Runs",
]
SECTIONS: tuple[SectionName, ...] = (
    "Calls",
    "Lanes",
    "Limits",
    "Tree",
    "Spend",
    "Errors",
    "Endpoints",
    "Cache",
)
"""The sections of one program."""

SHARED_SECTIONS: tuple[SectionName, ...] = (
    "Workers",
    "Runs",
    "Lanes",
    "Limits",
    "Spend",
    "Errors",
    "Endpoints",
    "Cache",
)
"""The sections of all programs that share a server."""

SORTS: dict[SectionName, tuple[str, ...]] = {
    "Calls": ("turn", "time", "lane", "model"),
    "Lanes": ("calls", "turn", "name"),
    "Limits": ("given", "use"),
    "Tree": ("tree", "waiting", "handled", "restarts"),
    "Spend": ("cost", "calls", "model"),
    "Errors": ("latest", "count"),
    "Endpoints": ("given",),
    "Cache": ("given",),
    "Workers": ("given", "calls", "waiting", "use", "cost"),
    "Runs": ("given", "rows"),
}
"""The orders of the rows of each section; the first is the usual one."""

HELP = (
    ("q, Ctrl-C", "quit"),
    ("p, space", "pause, and go on"),
    ("tab, right, left, 1 to 8", "choose a section"),
    ("up, down, page up, page down", "move through its rows"),
    ("home, end", "go to its first or last row"),
    ("s", "sort its rows in another order"),
    ("?, h", "show or hide this help"),
)
"""Each key and what it does."""

_STEPS = {"up": -1, "down": 1, "k": -1, "j": 1, "pageup": -10, "pagedown": 10}
_TURNS = {"tab": 1, "right": 1, "backtab": -1, "left": -1}


@attrs.frozen
class View:
    """What the user has chosen.

    Args:
        section: the section that has the most room.
        first: the number of the first row that it shows, from 0.
        sorts: the order of the rows of each section, as a position in `SORTS`.
        is_paused: whether the screen stays as it is.
        has_help: whether the keys are shown.
        has_quit: whether the user wants to end.
        sections: the sections that there are.
    """

    section: SectionName = "Calls"
    first: int = 0
    sorts: tuple[tuple[SectionName, int], ...] = ()
    is_paused: bool = False
    has_help: bool = False
    has_quit: bool = False
    sections: tuple[SectionName, ...] = SECTIONS

    def sort_of(self, section: SectionName) -> str:
        """Return the name of the order of a section's rows.

        Args:
            section: the name of the section.
        """
        return SORTS[section][dict(self.sorts).get(section, 0)]

    def after(self, key: str, rows: int) -> "View":
        """Return the view after a key; unknown keys change nothing.

        Args:
            key: the name of the key, or its character.
            rows: the rows of the section that are not seen at the end, when it starts at the first.
        """
        if key in ("q", "Q"):
            return attrs.evolve(self, has_quit=True)
        if key in ("p", " "):
            return attrs.evolve(self, is_paused=not self.is_paused)
        if key in ("?", "h", "escape"):
            return attrs.evolve(self, has_help=key != "escape" and not self.has_help)
        section, order = self._section_after(key), dict(self.sorts)
        if key in ("s", "S"):
            order[section] = (order.get(section, 0) + 1) % len(SORTS[section])
        elif section == self.section:
            return attrs.evolve(self, first=self._moved(key, rows))
        return attrs.evolve(self, section=section, sorts=tuple(order.items()), first=0)

    def _section_after(self, key: str) -> SectionName:
        sections = self.sections
        if key.isdecimal() and 0 < int(key) <= len(sections):
            return sections[int(key) - 1]
        at = sections.index(self.section) + _TURNS.get(key, 0)
        return sections[at % len(sections)]

    def _moved(self, key: str, rows: int) -> int:
        last = max(0, rows)
        if key == "home":
            return 0
        if key == "end":
            return last
        return min(last, max(0, self.first + _STEPS.get(key, 0)))
