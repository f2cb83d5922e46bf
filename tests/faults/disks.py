"""Small disks of their own, for the tests of what happens on a full or a read-only one."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def on_a_disk(
    folder: Path, size: str, steps: list[list[str]], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run Python scripts in a folder that is a disk in memory, which only they can see.

    Args:
        folder: The folder.
        size: How big the disk is, such as ``6m``.
        steps: What is run, one after the other: arguments for Python each, or for a command
            if the first one is ``!``.
        environment: The variables of their environment.
    """
    lines = [f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(folder))}"]
    lines.append(f"cd {shlex.quote(str(folder))}")
    for step in steps:
        command = step[1:] if step[0] == "!" else [sys.executable, *step]
        lines.append(shlex.join(command))
    # A name space of mounts that this user may make, and that ends with the processes.
    command = ["unshare", "--mount", "--map-root-user", "sh", "-ec", "\n".join(lines)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
