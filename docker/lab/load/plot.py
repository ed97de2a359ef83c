"""Draws the picture: plot.py svg|png HEADING, series as JSON on standard input, the
picture on standard output. A strip for each row: answered requests and failures
by kind, stacked over the time of arrival, and the stops as bars below."""

import io
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Patch

# Kinds in the order they are stacked. Colours that differ in lightness, too.
COLOURS = {
    "refused": "#d73027",
    "reset-fresh": "#8c2d8c",
    "reset-reused": "#df65b0",
    "cut": "#000000",
    "502": "#f46d43",
    "503": "#fdae61",
    "504": "#b8860b",
    "timeout": "#4575b4",
    "other": "#7f7f7f",
}
ANSWERED = "#c7dfc3"
BIN = 0.5

rows = json.load(sys.stdin)
longest = max(row["length"] for row in rows)
# In inches: a strip, and what is above and below all of them.
heading = sys.argv[2]
STRIP, ABOVE, BELOW = 1.15, 0.95 if heading else 0.65, 0.5
height = len(rows) * STRIP + ABOVE + BELOW
figure, axes = plt.subplots(len(rows), 1, sharex=True, squeeze=False, figsize=(11, height))
figure.subplots_adjust(left=0.2, right=0.985, hspace=0.25, top=1 - ABOVE / height, bottom=BELOW / height)
used = set()
for row, axis in zip(rows, axes[:, 0]):
    bins = int(row["length"] / BIN) + 1
    times = [number * BIN for number in range(bins)]
    stacked = {kind: [0.0] * bins for kind in ["ok", *COLOURS]}
    for at, kind, number in row["counts"]:
        if 0 <= at < row["length"]:
            stacked[kind][int(at / BIN)] += number / BIN
    bottom = [0.0] * bins
    # Failures lie at the bottom, where their heights can be compared.
    for kind in [*COLOURS, "ok"]:
        values = stacked[kind]
        if not any(values):
            continue
        used.add(kind)
        axis.bar(times, values, BIN, bottom, align="edge", color=COLOURS.get(kind, ANSWERED), linewidth=0)
        bottom = [below + value for below, value in zip(bottom, values)]
    top = row["rate"] * 1.5
    axis.set_ylim(0, top)
    axis.set_yticks([0, row["rate"]])
    for begin, end in row["stops"]:
        axis.plot([begin, end], [top * 0.93] * 2, color="#222222", linewidth=3, solid_capstyle="butt")
        axis.axvline(begin, color="#222222", linewidth=0.8, linestyle=(0, (2, 2)))
    axis.set_xlim(0, longest)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.text(-0.045, 0.68, row["title"], transform=axis.transAxes, ha="right", va="center", fontsize=11, weight="bold")
    axis.text(-0.045, 0.30, row["result"], transform=axis.transAxes, ha="right", va="center", fontsize=9)
axes[-1, 0].set_xlabel("seconds")
below_heading = 1 - (0.3 if heading else 0) / height
handles = [Patch(color=ANSWERED, label="answered")]
handles += [Patch(color=colour, label=kind) for kind, colour in COLOURS.items() if kind in used]
handles.append(plt.Line2D([], [], color="#222222", linewidth=3, label="a docker stop"))
figure.legend(handles=handles, loc="upper right", ncols=len(handles), frameon=False, fontsize=9, bbox_to_anchor=(0.99, below_heading))
figure.suptitle(
    "requests sent per second,\nby what became of them", x=0.01, ha="left", y=below_heading - 0.12 / height, fontsize=10, va="top"
)
figure.text(0.01, 1 - 0.1 / height, heading, ha="left", va="top", fontsize=12, weight="bold")

picture = io.BytesIO()
matplotlib.rcParams["svg.fonttype"] = "none"
figure.savefig(picture, format=sys.argv[1], dpi=110)
sys.stdout.buffer.write(picture.getvalue())
