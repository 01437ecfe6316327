"""How etcd is restored from a snapshot, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping

# A revision far above any that a client has seen: what it knew of later ones is void, and it reads anew instead of waiting for ever.
_BUMP = 1_000_000_000
SAME = (
    "name",
    "initial-cluster",
    "initial-advertise-peer-urls",
)  # the member's options, which it must be restored with


def restore_words(file: str, folder: str, member: Mapping[str, str]) -> list[str]:
    """The arguments of ``etcdutl`` that put what *file* holds into the data *folder*, which must not be there.

    Args:
        member: the options that etcd is started with, by name, with those of SAME among them.
    """
    same = [f"--{name}={member[name]}" for name in SAME]
    return ["snapshot", "restore", file, f"--data-dir={folder}", *same, f"--bump-revision={_BUMP}", "--mark-compacted"]
