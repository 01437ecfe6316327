"""Signatures of files by the user's own SSH key: made and verified by ssh-keygen alone, so nobody needs holdfast to verify one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from holdfast.errors import UsageError

NAMESPACE = "holdfast-signoff"
_TIMEOUT_S = 120  # a passphrase may have to be typed, or a key on a token be touched


def sign(file: Path, key: Path) -> Path:
    """Signs a file; returns the signature's, ``FILE.sig``. Raises UsageError with ssh-keygen's words."""
    made = file.with_name(f"{file.name}.sig")
    made.unlink(missing_ok=True)  # ssh-keygen asks before it writes over one
    done = _run(["-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(file)], ask=True)
    if done.returncode or not made.is_file():
        raise UsageError(
            f"{file.name} can't be signed with {key}: {_words(done)}",
            "name a private key, or the public half of one that your agent holds: --key ~/.ssh/id_ed25519",
        )
    return made


def signer(file: Path) -> str:
    """The fingerprint of the key that signed a file. Raises UsageError where the signature isn't of these bytes, or there is none."""
    made = file.with_name(f"{file.name}.sig")
    if not made.is_file():
        raise UsageError(f"{file} isn't signed", "make one with: holdfast signoff --key FILE")
    with file.open("rb") as content:
        done = _run(["-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(made)], content=content.read())
    found = re.search(r"(SHA256:\S+)", f"{done.stdout}{done.stderr}")
    if done.returncode or not found:
        raise UsageError(
            f"the signature beside {file} is not of these bytes: {_words(done)}",
            "get the file anew from whoever signed it",
        )
    return found[1]


def _run(words: list[str], content: bytes | None = None, *, ask: bool = False) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            ["ssh-keygen", *words],
            input=content,
            stdin=None if ask or content is not None else subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise UsageError("ssh-keygen isn't there", "install OpenSSH's client") from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"ssh-keygen didn't end within {_TIMEOUT_S}s", "unlock the key with ssh-add first") from None
    texts = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"ssh-keygen ended with {done.returncode}"
