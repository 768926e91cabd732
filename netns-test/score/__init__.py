# SPDX-License-Identifier: GPL-2.0-only
"""The exactness score: scenarios with a ground truth, and capture tools that are measured against it."""
