"""What was seen, for the terminal and for programs."""

import json
import textwrap

# Of each figure: the head of its column, and how it is written.
COLUMNS = {
    "rate": ("{unit}s/s", "{:,.0f}"), "p50": ("p50 ms", "{:.2f}"), "p99": ("p99 ms", "{:.2f}"), "p999": ("p99.9 ms", "{:.2f}"),
    "first_p50": ("first p50", "{:.2f}"), "first_p99": ("first p99", "{:.2f}"), "delay_p50": ("late p50", "{:.2f}"),
    "delay_p99": ("late p99", "{:.2f}"), "delay_p999": ("late p99.9", "{:.2f}"), "jitter_p99": ("jitter p99", "{:.2f}"),
    "rss": ("RSS MB", "{:.1f}"), "switches": ("switches", "{:.2f}"), "store_cpu": ("store µs", "{:.2f}"),
    "resumed": ("resumed", "{:.0%}"), "came": ("came/s", "{:,.0f}"), "flood": ("flood/s", "{:,.0f}"),
}


def number(value, form):
    return "–" if value is None else form.format(value)


def spread(ratio):
    return "–" if ratio is None else "{:.2f} ({:.2f}–{:.2f})".format(*ratio)


def given_pace(results, name):
    """Whether how often is asked is said beforehand, and no figure of who is asked."""
    return any(figure in turn for turns in results.turns[name].values() for turn in turns for figure in ("came", "delay_p50"))


def table(results, name):
    """Heads and rows of one workload's table."""
    workload, turns = results.workloads[name], results.turns[name]
    measured = [who for who in turns if turns[who]]
    figures = [figure for figure in COLUMNS if any(results.middle(name, who, figure) is not None for who in measured)]
    if given_pace(results, name):
        figures = [figure for figure in figures if figure != "rate"]
    # Of cfx alone, and of no workload without a row.
    figures = [figure for figure in figures if figure != "store_cpu" or any(results.middle(name, who, figure) for who in measured)]
    by_cpu = "cpu" not in workload.without
    first = [f"CPU µs/{workload.unit}", f"× {workload.base}"] if by_cpu else [f"p99 × {workload.base}"]
    heads = ["", *first, *(COLUMNS[figure][0].format(unit="answer" if workload.per > 1 else workload.unit) for figure in figures)]
    rows = []
    for who in measured:
        cells = [spread(results.ratio(name, who, workload.base, "cpu" if by_cpu else "p99"))]
        if by_cpu:
            cells.insert(0, number(results.middle(name, who, "cpu"), "{:,.2f}"))
        cells += [number(results.middle(name, who, figure), COLUMNS[figure][1]) for figure in figures]
        rows.append([who, *cells])
    return heads, rows


def show(results, name):
    workload, failed = results.workloads[name], results.failed[name]
    heads, rows = table(results, name)
    print(f"\n{workload.title}")
    print_table(heads, rows)
    for who, reason in failed.items():
        print(f"  {who:16} – {reason.splitlines()[0]}")
    if workload.note:
        print(textwrap.fill(workload.note, 120, initial_indent="  ", subsequent_indent="  "), flush=True)


def print_table(heads, rows):
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    for row in [heads, *rows]:
        cells = [row[0].ljust(max(16, widths[0])), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        print("  " + "  ".join(cells).rstrip(), flush=True)


def wanted_table(lines, no):
    words = {True: "yes", False: no, None: "not measured"}
    return ["", "wanted", "seen", "holds"], [[line["what"], line["wanted"], line["seen"], words[line["holds"]]] for line in lines]


def show_wanted(lines):
    print("\nWanted")
    print_table(*wanted_table(lines, no="NO"))


def as_json(setting, results, footprint, wanted):
    workloads = [{
        "name": name, "title": workload.title, "unit": workload.unit, "base": workload.base,
        "turns": results.turns[name], "failed": results.failed[name], "note": workload.note,
    } for name, workload in results.workloads.items()]
    return json.dumps({**setting, "workloads": workloads, "left_out": results.left_out, "footprint": footprint, "wanted": wanted},
                      indent=1, ensure_ascii=False) + "\n"
