# SPDX-License-Identifier: GPL-2.0-only
"""Waiting for a condition with a deadline; the only place that lets time pass."""

import time

from lib.registry import Failure

STEP_S = 0.01


def until(condition, what, seconds=10.0):
    """Polls `condition` until it is true and returns its value; fails the case when the deadline passes."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"timed out after {seconds:g} s waiting for {what}")
        time.sleep(STEP_S)


def within(condition, seconds):
    """Like until(), but answers False when the deadline passes."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_S)
    return True
