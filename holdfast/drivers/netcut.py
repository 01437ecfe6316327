"""A cut of a node's network: what is typed on the node to cut it, to give it back, and to have it come back by itself."""

from __future__ import annotations

_CHAIN = "holdfast-cut"
GIVE_BACK = (
    f"for c in INPUT OUTPUT FORWARD; do while iptables -D $c -j {_CHAIN} 2>/dev/null; do :; done; done; "
    f"iptables -F {_CHAIN} 2>/dev/null; iptables -X {_CHAIN} 2>/dev/null"
)
_UNIT = "holdfast-cut-end"
_PID = "/run/holdfast-cut"  # it ends with the node's power, as the cut does


def cut(timer: str) -> str:
    """Cuts it, all but loopback. *timer* is begun first: should that fail, nothing is cut."""
    return f"""
        set -e
        iptables -N {_CHAIN} 2>/dev/null || iptables -F {_CHAIN}
        iptables -A {_CHAIN} -i lo -j RETURN; iptables -A {_CHAIN} -o lo -j RETURN; iptables -A {_CHAIN} -j DROP
        {timer}
        for chain in INPUT OUTPUT FORWARD; do iptables -C $chain -j {_CHAIN} 2>/dev/null || iptables -I $chain -j {_CHAIN}; done"""


def by_systemd(for_s: float) -> str:
    """Gives it back after *for_s* seconds, by a timer of systemd's."""
    return f"systemd-run --quiet --unit={_UNIT} --timer-property=AccuracySec=100ms --on-active={for_s:g} /bin/sh -c '{GIVE_BACK}'"


def end_by_systemd() -> str:
    """Gives it back now; nothing is done where it wasn't cut."""
    return f"systemctl stop {_UNIT}.timer 2>/dev/null; {GIVE_BACK}; true"


def by_a_shell(for_s: float, pid: str = _PID) -> str:
    """Gives it back after *for_s* seconds, by a shell that waits on the node, whatever becomes of ours: where there is no systemd."""
    return (
        f"(trap '' HUP; sleep {for_s:g} & echo $! >{pid}-sleeps; wait; {GIVE_BACK}; rm -f {pid}*) </dev/null >/dev/null 2>&1 &\n"
        f"        echo $! >{pid}"
    )


def end_by_a_shell(pid: str = _PID) -> str:
    """Gives it back now. After a restart of the node a number may be another process': it is ended only where it is one of these."""
    ours = f"p=$(cat {pid} 2>/dev/null) && grep -q {_CHAIN} /proc/$p/cmdline 2>/dev/null && kill $p"
    sleeps = f"s=$(cat {pid}-sleeps 2>/dev/null) && grep -q sleep /proc/$s/cmdline 2>/dev/null && kill $s"
    return f"{ours}; {sleeps}; rm -f {pid}*; {GIVE_BACK}; true"
