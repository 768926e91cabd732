# SPDX-License-Identifier: GPL-2.0-only
"""What the mirror costs: see main.py."""
