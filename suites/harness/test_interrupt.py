"""An interrupt that arrives in a finalizer, where Python drops whatever is raised, still ends the command."""

import signal
import subprocess
import sys

import pytest

from holdfast.paths import ROOT

SCRIPT = """
import os, signal, sys, time, weakref
{arm}

class Connection:
    pass

def closed():
    os.kill(os.getpid(), {number})
    time.sleep(0.2)  # the handler runs in here

def main():
    for _ in range({drops}):
        connection = Connection()
        weakref.finalize(connection, closed)
        del connection
    time.sleep(5)

try:
    main()
    print("missed")
except KeyboardInterrupt:
    print("seen")
"""


def outcome(number, drops=1, arm="from holdfast import interrupt; interrupt.arm()"):
    script = SCRIPT.format(number=int(number), drops=drops, arm=arm)
    ours = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
    }  # in the background both are ignored
    before = {one: signal.signal(one, handler) for one, handler in ours.items()}
    try:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("drops", [1, 3])
def test_an_interrupt_in_a_finalizer_is_seen(number, drops):
    said, error = outcome(number, drops)
    assert (said, error) == ("seen", "")


def test_python_alone_drops_it():
    said, error = outcome(signal.SIGINT, arm="")
    assert said == "missed"
    assert "KeyboardInterrupt" in error


def test_what_else_a_finalizer_raises_is_still_told():
    script = (
        "from holdfast import interrupt; interrupt.arm()\nclass A:\n def __del__(self): raise ValueError('told')\nA()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "told" in done.stderr
