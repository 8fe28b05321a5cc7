"""A flame graph of chat requests under load: perf's samples of stacks, with the functions that were inlined, drawn by inferno."""

import collections
import pathlib
import re
import subprocess

import bodies
import instructions
import load

# Deep: futures lie on the stack whole while they are polled. The most that perf keeps.
STACK, HERTZ, SECONDS, CLIENTS = 65_528, 999, 6, 32
FRAME = re.compile(r"\s+([0-9a-f]+) (.+) \((.+)\)$")
# What is named by its type's parameters is too long to be read.
PARAMETERS = re.compile(r"<[^<>]*>")
TRAIT = re.compile(r"^<(.+?) as [^>]*>")
BEGINNINGS = ("clone3", "_start")
RUNTIME = re.compile(r"clone3|start_thread|_start|__libc|main|std::|core::|alloc::|<?tokio|pingora-runtime|.*thread_start|.*call_once|.*run_forever")
LOADED = re.compile(r"LOAD +(0x\w+) (0x\w+) \S+ (0x\w+) \S+ +R E")


def drawn(ground, contender, program):
    """The SVG's text."""
    data = ground.folder / "perf.data"
    body = bodies.chat(ground.folder, "small.json", 2 << 10)
    load.clients(contender, 1, CLIENTS, body)
    record = subprocess.Popen(["perf", "record", "-q", "-F", str(HERTZ), "--call-graph", f"dwarf,{STACK}", "-o", data,
                               "-p", str(contender.process.pid), "--", "sleep", str(SECONDS - 1)])
    load.clients(contender, SECONDS, CLIENTS, body)
    if record.wait() != 0:
        raise load.Failed("perf may not look at cfx")
    told = subprocess.run(["perf", "script", "--no-inline", "-i", data, "-F", "ip,sym,dso"], capture_output=True, text=True, check=True)
    stacks = [[found.groups() for found in map(FRAME.match, stack.splitlines()) if found] for stack in told.stdout.split("\n\n")]
    folded = fold(stacks, program)
    return subprocess.run(["inferno-flamegraph", "--title", "A chat request of 2 KB", "--minwidth", "0.4", "--deterministic"],
                          input="\n".join(folded), capture_output=True, text=True, check=True).stdout


def fold(stacks, program):
    """A line for each stack, its outermost function first, with how often it was seen."""
    headers = subprocess.run(["readelf", "-lW", str(program)], capture_output=True, text=True, check=True).stdout
    offset, address, _ = (int(number, 16) for number in LOADED.search(headers).groups())
    own = {int(ip, 16) for stack in stacks for ip, _, where in stack if where == str(program)}
    # perf tells places in the file.
    inlined = instructions.frames(program, sorted(ip + address - offset for ip in own))
    whole, cut = [], []
    for stack in stacks:
        names = []
        for ip, symbol, where in stack:
            frames = inlined.get(int(ip, 16) + address - offset, ()) if where == str(program) else ()
            told = [short(name, file) for file, _, name in (frame.partition(" ") for frame in frames)
                    if not file.startswith(("std/", "/rust"))]
            names += told or [short(symbol, "")]
        names = [name for name in reversed(names) if name and name != "[unknown]"]
        if names:
            (whole if stack[-1][1] in BEGINNINGS else cut).append(names)
    # A stack deeper than was kept lacks its beginning: it has that of the first that is whole and went the same way.
    for names in cut:
        like = next((other for other in whole if names[0] in other), None)
        if like:
            whole.append(like[:like.index(names[0])] + names)
    seen = collections.Counter(";".join(without_runtime(names)) for names in whole)
    return [f"{stack} {count}" for stack, count in seen.items() if stack]


def without_runtime(names):
    """What polls every future alike is left out below the first of ours, and a function upon itself is one."""
    first = next((at for at, name in enumerate(names) if not RUNTIME.match(name)), None)
    names = ["tokio"] if first is None else names[first:]
    return [name for name, below in zip(names, [None, *names]) if name != below]


def short(name, file):
    """An inlined function is told without its module, which its file has."""
    before, name = None, TRAIT.sub(r"\1", name)
    while before != name:
        before, name = name, PARAMETERS.sub("", name).strip(":")
    name = name.replace("::{{closure}}", "").replace(";", ",")
    if "{" in name:
        name = ""
    module = pathlib.PurePath(file).with_suffix("").as_posix().replace("/src/", "/").replace("/", "::") if file else ""
    return name if "::" in name or not module else f"{module}::{name}" if name else module
