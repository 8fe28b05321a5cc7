"""What the operating system tells of a process and its children: time, memory, switches, cores."""

import contextlib
import os
import pathlib
import re
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def family(pid):
    """A process and all that it started: nginx, LiteLLM and Postgres work in their children."""
    found = [pid]
    for each in found:
        try:
            for task in pathlib.Path(f"/proc/{each}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            pass
    return found


def cpu_seconds(pid):
    """Of a family so far, those among them that have ended and were waited for."""
    return sum(cpu_times(pid))


def cpu_times(pid):
    """The same as user and as system time."""
    user = system = 0
    for each in family(pid):
        try:
            fields = pathlib.Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        own_user, own_system, others_user, others_system = (int(field) for field in fields[11:15])
        user, system = user + own_user + others_user, system + own_system + others_system
    return user / TICKS, system / TICKS


def switches(pid):
    """Context switches of a family so far, wanted or not, of all its threads: a process' own status shows its first one's."""
    total = 0
    for each in family(pid):
        for status in pathlib.Path(f"/proc/{each}/task").glob("*/status"):
            try:
                total += sum(int(count) for count in re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status.read_text()))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return total


def memory_kib(pid, field="VmRSS"):
    """Of one process, as it is (`VmRSS`) or was at its most (`VmHWM`)."""
    return int(re.search(rf"{field}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def family_memory_kib(pid, field="VmRSS"):
    return sum(memory_kib(each, field) for each in family(pid))


def forget_most(pid):
    """From now on `VmHWM` tells the most since now."""
    for each in family(pid):
        pathlib.Path(f"/proc/{each}/clear_refs").write_text("5")


def pin(pid, cores):
    """Puts a family that runs already, and what it starts from now on, on these cores."""
    for each in family(pid):
        subprocess.run(["taskset", "-acp", cores_text(cores), str(each)], check=True, capture_output=True)


def yield_to_others(pid):
    """A family as it is now has what processor time nobody else wants."""
    for each in family(pid):
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            os.setpriority(os.PRIO_PROCESS, each, 19)
        yield_session(each)


def yield_session(pid):
    """Where the kernel weighs sessions before processes (sched_autogroup), it is the session that has to be nice: each of
    Postgres' processes is one."""
    session = pathlib.Path(f"/proc/{pid}/autogroup")
    # Ended meanwhile, a kernel that weighs no sessions, or nothing that we may change.
    with contextlib.suppress(OSError):
        while not session.read_text().rstrip().endswith("nice 19"):
            try:
                session.write_text("19")
            except BlockingIOError:  # who is not root may do so ten times a second
                time.sleep(0.1)


def threads():
    """Of clients and of the upstream, which share the cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


def cores_text(cores):
    return ",".join(str(core) for core in sorted(cores))
