"""CPU time by workload as a chart: a row a workload, a mark a contender, on a scale where each line is ten times the one before."""

import math
from xml.sax.saxutils import escape

# The palette of Okabe and Ito, which the colour-blind tell apart; shapes besides, for print.
MARKS = {
    "cfx": ("#D55E00", "circle"), "bare pingora": ("#0072B2", "square"), "nginx": ("#009E73", "up"), "HAProxy": ("#E69F00", "diamond"),
    "onwards": ("#CC79A7", "down"), "Portkey": ("#56B4E9", "plus"), "LiteLLM": ("#000000", "cross"),
}
WIDTH, LEFT, RIGHT, TOP, ROW = 960, 230, 120, 92, 34
SIZE = 6
TITLE = "CPU time of the proxy, µs a request, event or connection (logarithmic; less is better)"


def svg(results, names, told):
    rows = [(results.workloads[name], {who: value for who in MARKS if (value := results.middle(name, who, "cpu"))}) for name in names]
    values = [value for _, found in rows for value in found.values()]
    if not values:
        return None
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    bottom = TOP + ROW * len(rows)

    def across(value):
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 62}" font-family="sans-serif" font-size="13"'
             ' role="img">',
             "<title>CPU time by workload and proxy</title>",
             f'<rect width="{WIDTH}" height="{bottom + 62}" fill="#ffffff"/>',
             text(16, 26, TITLE, size=15, weight="bold")]
    for number, who in enumerate(who for who in MARKS if any(who in found for _, found in rows)):
        at = 24 + number * 128
        parts += [mark(who, at, 52), text(at + 12, 56, who)]
    for power in range(low, high + 1):
        at = across(10 ** power)
        parts += [f'<line x1="{at:.1f}" y1="{TOP - 14}" x2="{at:.1f}" y2="{bottom - 6}" stroke="#cccccc"/>',
                  text(at, bottom + 12, f"{10 ** power:,g} µs", anchor="middle")]
    parts.append(text(WIDTH - 16, TOP - 16, "cfx", anchor="end", weight="bold"))
    for number, (workload, found) in enumerate(rows):
        at = TOP + ROW * number + ROW / 2 - 6
        parts += [text(LEFT - 18, at + 4, workload.label, anchor="end"),
                  f'<line x1="{LEFT - 10}" y1="{at}" x2="{WIDTH - RIGHT + 10}" y2="{at}" stroke="#eeeeee"/>']
        # cfx last, so that no other covers it.
        parts += [mark(who, across(value), at, f"{who}: {value:,.2f} µs") for who, value in reversed(found.items())]
        if "cfx" in found:
            parts.append(text(WIDTH - 16, at + 4, f"{found['cfx']:,.1f} µs", anchor="end"))
    parts += [text(16, bottom + 46, told, size=11, fill="#555555"), "</svg>"]
    return "\n".join(parts) + "\n"


def text(x, y, words, anchor="start", size=13, weight="normal", fill="#222222"):
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{fill}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def mark(who, x, y, told=None):
    colour, shape = MARKS[who]
    s = SIZE + (1 if who == "cfx" else 0)
    points = {"square": [(-s, -s), (s, -s), (s, s), (-s, s)], "up": [(0, -s), (s, s), (-s, s)], "down": [(0, s), (s, -s), (-s, -s)],
              "diamond": [(0, -s - 1), (s + 1, 0), (0, s + 1), (-s - 1, 0)]}
    if shape == "circle":
        drawn = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{s}" fill="{colour}"'
    elif shape in points:
        drawn = f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in points[shape])}" fill="{colour}"'
    else:
        lines = [(-s, 0, s, 0), (0, -s, 0, s)] if shape == "plus" else [(-s, -s, s, s), (-s, s, s, -s)]
        path = "".join(f"M{x + a:.1f} {y + b:.1f}L{x + c:.1f} {y + d:.1f}" for a, b, c, d in lines)
        drawn = f'<path d="{path}" stroke="{colour}" stroke-width="3"'
    return f"{drawn}><title>{escape(told)}</title></{drawn[1:].split()[0]}>" if told else f"{drawn}/>"
