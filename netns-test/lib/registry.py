# SPDX-License-Identifier: GPL-2.0-only
"""How a case is declared, skipped and failed. No namespace or process is touched here."""

CASES = []


class Failure(Exception):
    """The product did not do what the case expects."""


class Skip(Exception):
    """The case cannot run here; the text says why."""


class Spec:
    """One runnable case: a function and the MIRRORCTL_DISABLE value it runs under."""

    def __init__(self, func, disable, timeout):
        topic = func.__module__.rsplit(".", 1)[-1]
        self.func = func
        self.disable = disable
        self.timeout = timeout
        self.name = f"{topic}.{func.__name__}" + (f"@{disable}" if disable else "")

    @property
    def about(self):
        """First line of the case's docstring."""
        return (self.func.__doc__ or "").strip().split("\n")[0]


def case(timeout=40, disable=("",)):
    """Marks a function as a case; `disable` lists the MIRRORCTL_DISABLE values it is run under ("" is none)."""
    def mark(func):
        for value in disable:
            CASES.append(Spec(func, value, timeout))
        return func
    return mark


def expect(condition, text):
    """Fails the case with `text` unless `condition` holds."""
    if not condition:
        raise Failure(text)


def expect_equal(got, want, what):
    """Fails the case unless `got` equals `want`."""
    if got != want:
        raise Failure(f"{what}: got {got!r}, want {want!r}")
