# SPDX-License-Identifier: GPL-2.0-only
"""Waiting for a condition with a deadline; the only place that lets time pass."""

import os
import time

from lib.registry import Failure

STEP_S = 0.01
SLOW = float(os.environ.get("SLOW", "1"))   # factor on every deadline, for emulated machines


def until(condition, what, seconds=10.0):
    """Polls `condition` until it is true and returns its value; fails the case when the deadline passes."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"timed out after {seconds * SLOW:g} s waiting for {what}")
        time.sleep(STEP_S)


def within(condition, seconds):
    """Like until(), but answers False when the deadline passes."""
    deadline = time.monotonic() + seconds * SLOW
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_S)
    return True
