# SPDX-License-Identifier: GPL-2.0-only
"""The scenarios, one module for each class. A scenario selects a process, makes it talk beside a stranger that does the
same, and says whose each packet is by the rule of docs/architecture.md, never by what a tool can do."""
