"""Puts what holdfast works on - suites, recipes, stand-ins, profiles, the reference tree - into the wheel, as one archive.

An archive, since it holds links and executable files, which a wheel can't. `holdfast.paths` unpacks it into the user's cache.
"""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FOLDERS = ("suites", "clusters", "fixtures/gitops", "examples", "reports/templates")
FILES = ("conftest.py",)  # pytest puts its folder on the path: suites import each other
LEFT_OUT = ("suites/harness", "suites/oracle")  # tests of holdfast itself


def _wanted(path: Path) -> bool:
    if any(path.is_relative_to(ROOT / name) for name in LEFT_OUT):
        return False
    return "__pycache__" not in path.parts and path.suffix != ".pyc" and (path.is_file() or path.is_symlink())


def archive() -> bytes:
    """The same bytes for the same files, whoever packs them and when."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*")] + [ROOT / name for name in FILES]
        for path in sorted(p for p in found if _wanted(p)):
            entry = tar.gettarinfo(path, str(path.relative_to(ROOT)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755 if entry.mode & 0o100 else 0o644
            if path.is_symlink():
                tar.addfile(entry)
            else:
                with path.open("rb") as content:
                    tar.addfile(entry, content)
    return gzip.compress(packed.getvalue(), mtime=0)


class WithShipped(build_py):
    """Builds the package, and the archive beside its modules."""

    def run(self) -> None:
        super().run()
        data = archive()
        name = f"shipped-{hashlib.sha256(data).hexdigest()[:12]}.tar.gz"
        package = Path(self.build_lib) / "holdfast"
        for old in package.glob("shipped-*.tar.gz"):  # of an earlier build in the same folder
            old.unlink()
        (package / name).write_bytes(data)


setup(cmdclass={"build_py": WithShipped})
