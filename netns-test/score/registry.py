# SPDX-License-Identifier: GPL-2.0-only
"""How a scenario is declared."""

from lib.registry import CASES, case


def scenario(timeout=60, launch=False, alone="", soak=False, only=""):
    """Marks a function as a scenario. `launch`: the target is a program that is started selected, the only kind a tool
    without process selection can take part in; `alone`: why there is no foreign traffic on the wire; `soak`: only run when
    asked for; `only`: the one tool whose own behaviour it is about."""
    def mark(func):
        func.launch, func.alone, func.soak, func.only = launch, alone, soak, only
        return case(timeout=timeout)(func)
    return mark


def scenarios(soak=False):
    """All scenarios in the order they are declared."""
    return [spec for spec in CASES if spec.func.__module__.startswith("score.") and spec.func.soak == soak]
