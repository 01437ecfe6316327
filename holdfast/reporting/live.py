"""What a run does, as it does it: one plain line for each step of a test's arc."""

from __future__ import annotations

from rich.console import Console

from holdfast.journal import Entry

_HELD = {True: ("held", "green"), False: ("broke", "red"), None: ("unproven", "yellow")}


def line(entry: Entry) -> tuple[str, str]:
    """The line for an entry, and its style; an empty text for entries that only the report shows."""
    event, style = entry["event"], "dim"
    if event == "steady":
        text = f"steady: {entry['what']}: {entry['sighting']}"
    elif event == "fault-inject":
        text = f"injecting {entry['fault']}"
    elif event == "fault-bit":
        text = f"{entry['fault']} bit: {'; '.join(entry['witness'])}"
    elif event == "fault-healed":
        text = f"{entry['fault']} {'healed' if entry['ok'] else 'NOT healed: ' + str(entry['sighting'])}"
    elif event == "converged":
        text = str(entry["sighting"])
    elif event == "promise":
        word, style = _HELD[entry["held"]]
        text = f"{word}: {entry['sighting']}"
    else:
        return "", style
    return f"    {entry['at_s']:7.1f}s  {text[:220]}", style


def show(console: Console, entry: Entry) -> None:
    """Prints the line of an entry, where it has one."""
    text, style = line(entry)
    if text:
        console.print(text, style=style, markup=False)
