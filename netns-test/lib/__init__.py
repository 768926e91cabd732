# SPDX-License-Identifier: GPL-2.0-only
"""Building blocks of the network-namespace tests: see ../run.py for how they are used."""
