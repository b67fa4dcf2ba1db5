"""What the kernel knows of a process: the CPU it has used and the memory it holds.

The kernel's accounts, not the wall clock: what the load generator and the upstream use does not
count. Whoever works on the other half of a core does, without a trace (``bench.windows``).
"""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import time
from pathlib import Path

from proxy.version import is_compiled

_CPUCLOCK_SCHED = 2  # a process's clock: nanoseconds of all its threads, those that ended included


def cpu_seconds(pid: int) -> float:
    """Return the CPU time used so far, user and system. Raises OSError if there is no process."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def resident_kib(pid: int) -> int:
    """Return what is resident, mapped files included. Raises OSError if there is no process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found, "a zombie holds no memory"
    return int(found[1])


def loopback_bytes() -> int:
    """Return how many bytes the machine has sent to itself so far, their frames included."""
    return int(Path("/sys/class/net/lo/statistics/tx_bytes").read_text())


def load() -> float:
    """Return how many processes want to run, over the last minute."""
    return os.getloadavg()[0]


def machine() -> dict[str, str]:
    """Say on what was measured; whose build of Python it is counts for a tenth or more."""
    model = re.search(r"model name\s+: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else os.uname().machine,
        "cores": str(os.cpu_count()),
        "kernel": os.uname().release,
        "Python": f"{platform.python_version()} of {sys.base_prefix}",
        "form": "compiled" if is_compiled() else "Python",
    }


def raise_descriptor_limit() -> None:
    """Thousands of connections need as many descriptors; programs started later inherit this."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
