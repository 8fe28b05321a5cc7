"""What callgrind counted, by who asked for it: reads its dumps, and says of each instruction of a program which lines of source
it came of, those of functions that were inlined among them.
"""

import collections
import dataclasses
import re
import subprocess

# With these it tells each instruction's address, which is what inlined functions are found by.
ASKED = ("--tool=callgrind", "--dump-instr=yes", "--compress-pos=no")
NAMED = re.compile(r"(ob|cob|fn|cfn)=\((\d+)\)(?: (.*))?$")
# A package's folder in the registry, and the compiler's own library.
PACKAGE = re.compile(r".*/registry/src/[^/]+/(?P<name>[^/]+?)-\d[^/]*/(?P<file>.*)")
LIBRARY = re.compile(r".*/rustc/[0-9a-f]+/library/(?P<file>.*)")
BUILT = re.compile(r".*/build/(?P<name>[^/]+?)-sys-[0-9a-f]+/out/(?P<file>.*)")
ROUNDS = 60


@dataclasses.dataclass
class Dump:
    """Costs by function and address, and of calls by who called from where. A function is an object and a name, an address
    an object and a number."""

    own: collections.Counter
    calls: collections.Counter

    def total(self):
        return sum(self.own.values())

    def addresses(self, program):
        return {address for _, (place, address) in self.own if place == program} | \
               {address for _, (place, address), _ in self.calls if place == program}


def read(path):
    """A name is told once, with a number that stands for it from then on."""
    names = {"ob": {}, "fn": {}}
    now, own, calls, called = {}, collections.Counter(), collections.Counter(), False
    with open(path, errors="replace") as dump:
        for line in dump:
            if line.startswith("0x"):
                address, _, cost = line.split()
                place = (now["ob"], int(address, 16))
                function = (now["ob"], now["fn"])
                if called:
                    calls[function, place, (now.pop("cob", now["ob"]), now["cfn"])] += int(cost)
                else:
                    own[function, place] += int(cost)
                called = False
            elif line.startswith("calls="):
                called = True
            elif found := NAMED.match(line):
                kind, number, name = found.groups()
                known = names[kind[-2:]]
                if name:
                    known[number] = name
                now[kind] = known.get(number, "")
    return Dump(own, calls)


def frames(program, addresses):
    """By address, the functions it is in, the innermost first, each as its file, by package, and its name."""
    asked = "\n".join(f"{address:#x}" for address in addresses)
    told = subprocess.run(["addr2line", "-a", "-i", "-f", "-C", "-e", str(program)], input=asked, capture_output=True, text=True, check=True)
    found, lines = {}, iter(told.stdout.splitlines())
    for line in lines:
        if line.startswith("0x"):
            found[int(line, 16)] = current = []
        else:
            current.append(f"{file_of(next(lines))} {line}")
    return found


def file_of(place):
    path = place.rpartition(":")[0]
    for form, name in ((PACKAGE, None), (LIBRARY, "std"), (BUILT, None)):
        if found := form.match(path):
            return f"{name or found['name']}/{found['file']}"
    return f"cfx/{path.rpartition('/src/')[2]}" if "/src/" in path else path


def by_stage(dump, program, stage_of, otherwise):
    """Costs by stage and address. `stage_of` knows an address' stage or says None: then it is that of whoever called the
    function it is in, and of many callers each one's in the measure of what the calls cost. `otherwise`: where nobody knows."""
    def stage(place):
        return stage_of(place[1]) if place[0] == program else None

    callers = collections.defaultdict(list)
    for (caller, place, callee), cost in dump.calls.items():
        callers[callee].append((stage(place), caller, cost))
    shares = {function: {otherwise: 1.0} for function, _ in dump.own}
    # Settles what is called by what is called, as deep as there is any weight in it.
    for _ in range(ROUNDS):
        for callee, asked in callers.items():
            whole = sum(cost for _, _, cost in asked)
            if not whole:
                continue
            share = collections.Counter()
            for known, caller, cost in asked:
                for name, part in ({known: 1.0} if known else shares.get(caller, {otherwise: 1.0})).items():
                    share[name] += part * cost / whole
            shares[callee] = share
    found = collections.Counter()
    for (function, place), cost in dump.own.items():
        known = stage(place)
        for name, part in ({known: 1.0} if known else shares[function]).items():
            found[name, function, place] += cost * part
    return found
