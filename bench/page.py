"""docs/performance.md and the README's figure, from what a run saw and from nothing else."""

import re
import textwrap

import report
import setting as settings
import workloads

MARKERS = ("<!-- bench: `make bench` writes what stands between these two -->", "<!-- /bench -->")
# Where another is better by less, neither is: rounds of one run differ by that much.
CLOSE = 1.03

INTRODUCTION = """# Performance

`make bench` wrote this page, on {date}, and writes it again on any Linux machine: it builds cfx as it is shipped and a bare stock Pingora
proxy, installs what else it measures from the ordinary registries, and has all of them stand in front of the same upstream in
turns. {quick}

**CPU time a request** is the figure to trust: user and system time of the process and its children, from the operating system, over
the requests served. Throughput and latency swing with the machine and stand beside it. A ratio is the median of the rounds', each
between two turns of one round, with its least and its most.

![CPU time by workload and proxy]({chart})

## Where and with what

| | |
|---|---|
| machine | {machine} |
| cores | contenders on {contenders}; clients, upstream and Postgres on {others}; as many threads or workers as a contender has cores |
| rounds | {rounds} of {seconds} s a turn, each begun by another contender; a warming turn before. LiteLLM and Portkey, which need milliseconds a request, have fewer and longer ones, with a quarter of the clients |
| versions | {versions} |

What is on in cfx, and what is off in whose configuration:

| | settings |
|---|---|
{settings}

{uncounted}.
"""
HOW = """## How it is measured

- Closed loop (`wrk`): as many clients as said, each asks again when it is answered. TLS handshakes and paced streams have clients of this
  repository's (`examples/handshakes.rs`, `examples/crowd`), HTTP/2 and clients at their own pace `h2load`.
- "At 70 %" is an open loop but for one thing: a client asks late while it waits for an answer longer than the interval between two of its
  requests, {interval:.1f} ms. Below that, latencies are those of an open loop; above, they would be longer there.
- CPU, switches and memory are those of all the process' threads and of its children, read from /proc before and after a turn. The clock of CPU
  time ticks a hundred times a second: a turn has hundreds of ticks at full load, and fewer where the upstream is what bounds it.
- Everything runs on one machine over loopback: no network card has a part in it, and those who share a core with clients, upstream and
  Postgres are they, not the contenders. What shares caches and memory is not kept apart.
- A turn of cfx ends when its ledger has brought every row to Postgres, and its CPU time is taken then. Postgres shares its cores with clients
  and upstream and catches up before anybody else's turn: `store µs` is all it took for a request. It yields to them (nice 19, its sessions too,
  where the kernel weighs those).
- Handshakes are of TLS 1.3, where a session that is resumed exchanges keys anew and is spared the certificate's signature alone:
  [decisions/020](decisions/020-resumed-sessions.md). Of ECDSA P-256 but where RSA is said.
- One key of one user with a limit of a thousand million requests a day, so that leases are large. With many users of ordinary limits there
  is one for 128 requests or fewer: what that costs the store says [decisions/005](decisions/005-quota-leases.md).
- Against bare pingora cfx has, beside its own code, the profile that it is built by. What each is without it says
  [decisions/022](decisions/022-built-by-a-profile.md).
"""


def performance(setting, results, footprint, wanted, chart):
    quick = "**This was a quick run (`QUICK=1`): it shows that every part works, and its figures are coarse.**" if setting["quick"] else ""
    sections = [
        INTRODUCTION.format(
            date=setting["date"], chart=chart, machine=settings.told(setting), **setting["cores"], rounds=setting["rounds"],
            seconds=setting["seconds"], uncounted=settings.UNCOUNTED,
            quick=quick,
            versions=", ".join(f"{name} {version}" for name, version in setting["versions"].items()),
            settings="\n".join(f"| {name} | {text} |" for name, text in setting["settings"].items())),
        "## What was wanted of cfx\n\n" + markdown(*report.wanted_table(wanted, no="**no**"))
        + "\ncfx is measured as it is shipped, built by a profile of what it does; bare pingora is not "
        "([decisions/022](decisions/022-built-by-a-profile.md)).\n",
        losses(results),
        "## The tables\n\nTimes in ms, CPU in µs.\n\n" + "\n".join(section(results, name) for name in results.workloads),
        beside(setting, footprint, results),
        HOW.format(interval=1e3 / workloads.EACH_RATE),
    ]
    return "\n".join(sections)


def section(results, name):
    workload = results.workloads[name]
    heads, rows = report.table(results, name)
    failed = "".join(f"- {who}: {reason.splitlines()[0]}\n" for who, reason in results.failed[name].items())
    return "\n".join([f"### {workload.title}\n", markdown(heads, rows), *(f"{part}\n" for part in (workload.note, failed) if part)])


def beside(setting, footprint, results):
    lines = ["## Memory, start, allocations"]
    if footprint.get("idle_mb"):
        lines.append(f"cfx at rest: {footprint['idle_mb']:.1f} MB; ready {footprint['ready_s']:.2f} s after its start, on a store that has "
                     "been used.")
    if footprint.get("binary_mb"):
        lines.append(f"Its binary without symbols: {footprint['binary_mb']:.1f} MB.")
    if footprint.get("prompt_memory"):
        held = ", ".join(f"{who} {report.number(share, '{:.2f}')}" for who, share in footprint["prompt_memory"].items())
        lines.append("What a prompt of 1 MB takes of memory while it is under way, as a multiple of its size (the most that the process "
                     f"grew by for many at once, over their number; nginx has it in a file): {held}.")
    if footprint.get("streams"):
        found = footprint["streams"]
        lines.append("10,000 open streams: " + ", ".join(f"{found[way]:.1f} KB each over {name}" for way, name in
                     (("plain", "plain HTTP"), ("tls", "TLS")) if way in found) + f", from a model over {setting['model_speaks']}.")
    if footprint.get("allocations"):
        counts = ", ".join(f"{who} {report.number(count, '{:.1f}')}" for who, count in footprint["allocations"].items())
        lines.append(f"Calls of the allocator a chat request of 2 KB, counted by callgrind: {counts}. nginx and HAProxy cut what they need "
                     "from pools, whose pieces are not counted; those of Python's and Node's heaps cannot be.")
    else:
        lines.append("Allocations a request were not counted in this run.")
    left = "".join(f"- {name}: {reason}\n" for name, reason in results.left_out.items())
    return "\n\n".join(lines) + "\n" + (f"\nLeft out:\n\n{left}" if left else "")


def losses(results):
    """Wherever another was better than cfx, by the medians."""
    rows = []
    for name, workload in results.workloads.items():
        turns = results.turns[name]
        if not turns.get("cfx"):
            continue
        figures = {"cpu": ("CPU, µs", 1, "{:,.2f}"), "p99": ("p99, ms", 1, "{:.2f}"), "rate": ("a second", -1, "{:,.0f}"),
                   "first_p99": ("first token p99, ms", 1, "{:.2f}"), "delay_p99": ("late p99, ms", 1, "{:.2f}")}
        if report.given_pace(results, name):
            del figures["rate"]
        for figure, (told, sign, form) in figures.items():
            own = results.middle(name, "cfx", figure)
            if own is None:
                continue
            others = {who: results.middle(name, who, figure) for who in turns if who not in ("cfx", "nobody")}
            better = [f"{who} {form.format(value)}" for who, value in others.items()
                      if value is not None and (value * CLOSE < own if sign > 0 else value > own * CLOSE)]
            if better:
                rows.append([workload.title, told, form.format(own), ", ".join(better)])
    head = "## Where cfx loses\n\n"
    if not rows:
        return head + "In nothing that was measured here.\n"
    return head + (f"Everything in which another was better by more than {(CLOSE - 1) * 100:.0f} %, by the medians of the rounds. What each "
                   "of them leaves undone stands above.\n\n") + markdown(["", "figure", "cfx", "better"], rows)


def markdown(heads, rows):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]) + "\n"


def figure(setting, results):
    """What the README says of it, its heading too: there is none before the first run."""
    own = results.middle("chat-2k", "cfx", "cpu")
    against = {who: results.ratio("chat-2k", "cfx", who, "cpu") for who in ("bare pingora", "onwards", "Portkey", "LiteLLM")}
    if own is None or not against["bare pingora"]:
        return None
    parts = [f"{against.pop('bare pingora')[0]:.2f} × that of a bare Pingora proxy, which does none of that and is built without a profile"]
    parts += [f"{ratio[0]:.2f} × {who}" if ratio[0] >= 0.1 else f"1/{1 / ratio[0]:,.0f} of {who}" for who, ratio in against.items() if ratio]
    told = (f"**{own:.1f} µs of CPU time a request** with keys, quota, ledger, metrics and log on: {', '.join(parts)}. A chat request of 2 KB, "
            f"all in one run of `make bench` on {setting['date']}, {settings.told(setting)}. [Every figure](docs/performance.md), what was off in "
            "whose configuration, and where cfx loses.")
    return f"## Speed\n\n{textwrap.fill(told, 140, break_on_hyphens=False)}\n\n![CPU time by workload and proxy](docs/images/performance.svg)"


def with_figure(readme, text):
    """The README with this between its markers."""
    begin, end = (re.escape(marker) for marker in MARKERS)
    found, count = re.subn(f"({begin}\n).*?({end})", lambda match: f"{match.group(1)}{text}\n{match.group(2)}", readme, flags=re.DOTALL)
    if count != 1:
        raise ValueError("the README has no place for the figure")
    return found
