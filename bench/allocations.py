"""How often a request asks the allocator for memory, counted by callgrind: calls of malloc and its like between two marks.

Of compiled programs alone: Python's and Node's heaps are their own. nginx and HAProxy cut what a request needs from pools, so
that what is counted for them is what they asked the allocator for, and no measure of what they cut.
"""

import http.client
import re
import subprocess

import bodies
import load
from ground import PATIENCE, Ground, NotStarted

REQUESTS, WARMING = 500, 100
# As libc and jemalloc have them; what they call among themselves has other names.
ENTRIES = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "memalign", "mallocx", "rallocx"}


def of(starters, answers):
    """By contender, those of a chat request of 2 KB; and by contender, why they could not be counted."""
    found, missing = {}, {}
    for name, starter in starters.items():
        try:
            found[name] = counted(starter, answers)
        except (NotStarted, load.Failed, OSError, subprocess.SubprocessError) as reason:
            missing[name] = str(reason)
    return found, missing


def counted(starter, answers):
    with Ground() as ground:
        out = ground.folder / "callgrind"
        ground.watched = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        contender = starter(ground, "allocations", answers(ground))
        body = bodies.chat(ground.folder, "small.json", 2 << 10).read_bytes()
        ask(contender, body, WARMING)
        mark(contender, "-z")
        ask(contender, body, REQUESTS)
        mark(contender, "-d")
        # Each dump has a file of its own.
        return sum(calls_of(file.read_text(errors="replace")) for file in ground.folder.glob("callgrind.1*")) / REQUESTS


def ask(contender, body, times):
    connection = http.client.HTTPConnection("127.0.0.1", contender.plain, timeout=PATIENCE)
    for _ in range(times):
        connection.request("POST", load.CHAT, body, {"content-type": "application/json", **contender.asked_with()})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise load.Failed(f"{contender.name} answers {answer.status}")
    connection.close()


def mark(contender, what):
    done = subprocess.run(["callgrind_control", what, str(contender.process.pid)], capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode != 0:
        raise load.Failed(f"callgrind cannot be told {what}: {done.stdout}{done.stderr}")


def calls_of(text):
    """A name is told once, with a number that stands for it from then on."""
    names, called, calls = {}, None, 0
    for kind, identity, name, count in re.findall(r"^(?:(c?fn)=\((\d+)\)(?: (.+))?|calls=(\d+) .*)$", text, re.MULTILINE):
        if kind:
            names[identity] = name or names.get(identity, "")
            called = names[identity] if kind == "cfn" else None
        elif called and called.partition("'")[0] in ENTRIES:
            calls += int(count)
    return calls
