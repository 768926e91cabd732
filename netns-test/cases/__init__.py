# SPDX-License-Identifier: GPL-2.0-only
"""Test cases, one file per topic; run.py finds every function marked with lib.registry.case."""
