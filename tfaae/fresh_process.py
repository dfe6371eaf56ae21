"""An export looked at as its users will: in a process that does not know this package."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tfaae import check_export
from tfaae.errors import InputError


def check(folder: Path, *files: Path) -> dict[str, Any]:
    """What `check_export` finds of an export.

    Args:
        files: a reference other than the export's own, and where to write the answers.
    Raises:
        InputError: the export does not load.
    """
    command = [sys.executable, "-I", check_export.__file__, str(folder), *map(str, files)]
    alone = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}  # this process may hold the GPU's memory
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    if not ran.stdout.strip():  # it says what it found, also where that is bad
        told = ran.stderr.strip().splitlines() or [f"it ended with code {ran.returncode}"]
        raise InputError(f"the export does not load in a fresh process: {told[-1]}")
    return json.loads(ran.stdout.splitlines()[-1])
