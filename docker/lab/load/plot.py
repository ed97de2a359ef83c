"""Draws the picture: plot.py svg|png HEADING, series as JSON on standard input, the
picture on standard output. A strip for each row: answered requests and failures
by kind, stacked over the time of arrival, and the stops as bars below. Beside it,
where a row has it, one pod's stop and what drainit said of it."""

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
# Of these, by the pod that stops.
HERE = "#5b9a52"
BIN = 0.5

rows = json.load(sys.stdin)
longest = max(row["length"] for row in rows)
# In inches: a strip, and what is above and below all of them.
heading = sys.argv[2]
STRIP, ABOVE, BELOW = 1.15, 0.95 if heading else 0.65, 0.5
height = len(rows) * STRIP + ABOVE + BELOW
with_pods = any("pod" in row for row in rows)
figure, axes = plt.subplots(
    len(rows), 2 if with_pods else 1, sharex="col", squeeze=False, figsize=(19 if with_pods else 11, height),
    width_ratios=[1.4, 1] if with_pods else None,
)
figure.subplots_adjust(
    left=0.12 if with_pods else 0.2, right=0.75 if with_pods else 0.985, wspace=0.08, hspace=0.25,
    top=1 - ABOVE / height, bottom=BELOW / height,
)
used = set()


def stack(axis, counts, begin, end):
    """Bars of half seconds; returns where the answered requests begin in each."""
    bins = int((end - begin) / BIN) + 1
    times = [begin + number * BIN for number in range(bins)]
    stacked = {kind: [0.0] * bins for kind in [*COLOURS, "ok"]}
    for at, kind, number in counts:
        if begin <= at < end:
            stacked[kind][int((at - begin) / BIN)] += number / BIN
    bottom = [0.0] * bins
    # Failures lie at the bottom, where their heights can be compared.
    for kind, values in stacked.items():
        if not any(values):
            continue
        used.add(kind)
        axis.bar(times, values, BIN, bottom, align="edge", color=COLOURS.get(kind, ANSWERED), linewidth=0)
        if kind != "ok":
            bottom = [below + value for below, value in zip(bottom, values)]
    return times, bottom


def frame(axis, row):
    axis.set_ylim(0, row["rate"] * 1.5)
    axis.set_yticks([0, row["rate"]])
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def bar(axis, row, begin, end):
    axis.plot([begin, end], [row["rate"] * 1.4] * 2, color="#222222", linewidth=3, solid_capstyle="butt")
    axis.axvline(begin, color="#222222", linewidth=0.8, linestyle=(0, (2, 2)))


def draw_pod(axis, row):
    pod = row["pod"]
    begin, end = -pod["margin"], pod["length"] + pod["margin"]
    times, bottom = stack(axis, pod["counts"], begin, end)
    here = [0.0] * len(times)
    for at, number in pod["answers"]:
        if begin <= at < end:
            here[int((at - begin) / BIN)] += number / BIN
    if any(here):
        used.add("here")
        axis.bar(times, here, BIN, bottom, align="edge", color=HERE, linewidth=0)
    frame(axis, row)
    axis.set_yticks([])
    bar(axis, row, 0, pod["length"])
    said = [" ".join(text.removeprefix("drainit: ").split()) for _, text in pod["lines"]][:11]
    said = [text if len(text) < 76 else text[:75] + "…" for text in said]
    axis.text(1.02, 1, "\n".join(said), transform=axis.transAxes, ha="left", va="top", fontsize=6.5, family="monospace")


for number, row in enumerate(rows):
    axis = axes[number, 0]
    stack(axis, row["counts"], 0, row["length"])
    frame(axis, row)
    for begin, end in row["stops"]:
        bar(axis, row, begin, end)
    axis.set_xlim(0, longest)
    axis.text(-0.045, 0.68, row["title"], transform=axis.transAxes, ha="right", va="center", fontsize=11, weight="bold")
    axis.text(-0.045, 0.30, row["result"], transform=axis.transAxes, ha="right", va="center", fontsize=9)
    if "pod" in row:
        draw_pod(axes[number, 1], row)
axes[-1, 0].set_xlabel("seconds")
if with_pods:
    axes[-1, 1].set_xlabel("seconds since one pod's deletion")
below_heading = 1 - (0.3 if heading else 0) / height
handles = [Patch(color=ANSWERED, label="answered")]
handles += [Patch(color=colour, label=kind) for kind, colour in COLOURS.items() if kind in used]
if "here" in used:
    handles.insert(1, Patch(color=HERE, label="answered by the pod that stops"))
handles.append(plt.Line2D([], [], color="#222222", linewidth=3, label=rows[0].get("stop", "a docker stop")))
figure.legend(handles=handles, loc="upper right", ncols=len(handles), frameon=False, fontsize=9, bbox_to_anchor=(0.99, below_heading))
figure.suptitle(
    "requests sent per second,\nby what became of them", x=0.01, ha="left", y=below_heading - 0.12 / height, fontsize=10, va="top"
)
figure.text(0.01, 1 - 0.1 / height, heading, ha="left", va="top", fontsize=12, weight="bold")

picture = io.BytesIO()
matplotlib.rcParams["svg.fonttype"] = "none"
figure.savefig(picture, format=sys.argv[1], dpi=110)
sys.stdout.buffer.write(picture.getvalue())
