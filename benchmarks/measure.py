"""What a process used, read from the kernel: CPU of all its threads, and its peak memory."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")  # per second: CPU times of other processes are in steps of 1 / _TICKS, mostly 10 ms


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. What concerns Redis and published results is 0 where they have no part."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    redis_cpu_s: float = 0.0
    redis_bytes: int = 0
    results: int = 0
    events: int = 0  # 0: all predictions that were made


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_bytes(pid: int) -> int:
    """The memory that the process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes(pid: int | str) -> int:
    """The most memory that the process ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
