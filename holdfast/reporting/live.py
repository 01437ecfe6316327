"""What a run does, as it does it: one plain line for each step of a test's experiment."""

from __future__ import annotations

from rich.console import Console

from holdfast import events
from holdfast.journal import Line

_HELD = {True: ("held", "green"), False: ("broke", "red"), None: ("unproven", "yellow")}


def line(entry: Line) -> tuple[str, str]:
    """The line for an entry, and its style; an empty text for entries that only the report shows."""
    event, style = entry["event"], "dim"
    if event == events.Steady.event:
        text = f"steady: {entry['what']}: {entry['sighting']}"
    elif event == events.FaultInject.event:
        text = f"injecting {entry['fault']}"
    elif event == events.FaultTookEffect.event:
        text = f"{entry['fault']} took effect: {'; '.join(entry['effects'])}"
    elif event == events.FaultHealed.event:
        text = f"{entry['fault']} {'healed' if entry['ok'] else 'NOT healed: ' + str(entry['sighting'])}"
    elif event == events.Converged.event:
        text = str(entry["sighting"])
    elif event == events.Assertion.event:
        word, style = _HELD[entry["held"]]
        text = f"{word}: {entry['sighting']}"
    elif event == events.Again.event:
        text, style = f"once more: {entry['reason']}", "yellow"
    else:
        return "", style
    return f"    {entry['at_s']:7.1f}s  {text[:220]}", style


def show(console: Console, entry: Line) -> None:
    """Prints the line of an entry, where it has one."""
    text, style = line(entry)
    if text:
        console.print(text, style=style, markup=False)
