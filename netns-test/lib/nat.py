# SPDX-License-Identifier: GPL-2.0-only
"""Address translation rules in a namespace."""

import shutil

from lib import netns
from lib.registry import Skip


def translate(t, *lines, tool="iptables", table="nat", key="c"):
    """Rules in namespace `key`, each as iptables takes it."""
    if not shutil.which(tool):
        raise Skip(f"{tool} is not installed")
    for line in lines:
        done = netns.run(["nsenter", f"--net={netns.RUN_DIR}/{t.space(key)}", tool, "-t", table, *line.split()], check=False)
        if done.returncode:
            raise Skip(f"{tool} cannot: {done.stderr.strip().splitlines()[-1]}")
