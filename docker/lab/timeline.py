"""A stop, second by second: what became of the requests, by when they came, beside
what is said meanwhile."""

import math

from shared import own_lines


def table(columns, events, begin, end):
    """A line for each second, and one for each further event. The columns are
    [second, number], by their names."""
    lines = ["second  " + "  ".join(columns)]
    for second in range(begin, end):
        sums = [sum(count for at, count in counts if math.floor(at) == second) for counts in columns.values()]
        numbers = "  ".join(f"{count or '':>{len(name)}}" for name, count in zip(columns, sums))
        # What takes the whole last second may end a little later.
        said = [text for at, text in events if math.floor(at) == second or (second == end - 1 and at >= end)]
        for index, text in enumerate(said or [""]):
            left = f"{second:6}  {numbers}" if index == 0 else " " * (8 + len(numbers))
            lines.append(f"{left}  {text}".rstrip())
    return "\n".join(lines) + "\n"


def by_outcome(counts):
    """Columns of what was answered, and of each kind of failure that there is."""
    outcomes = ["ok", *sorted({outcome for _, outcome, _ in counts} - {"ok"})]
    return {
        "answered" if name == "ok" else name: [(at, count) for at, outcome, count in counts if outcome == name]
        for name in outcomes
    }


def of_the_worst_stop(row, webs, stops, begin, counts, logs):
    """Of the stop that cost most requests, or of the first.

    The stops and the counts are by seconds after the begin. Once the row's lag has
    passed, the clients open no connection to that server; those that they have they
    use until it closes them.
    """
    seen = []
    for number, (start, end) in enumerate(stops):
        web, until = webs[number % len(webs)], max(end - start, row["lag_s"])
        its = [
            (at - start, outcome, count)
            for at, outcome, count, server in counts
            if server == web and start - 1 <= at < start + until
        ]
        failed = sum(count for _, outcome, count in its if outcome != "ok")
        seen.append((failed, -number, web, start, end - start, until, its))
    _, number, web, start, took, until, its = max(seen)

    events = [(0, "docker    stop"), (row["lag_s"], "clients   told: new connections go to the other server"), (took, "docker    stopped")]
    events = [(at, f"lab:     {at:5.1f} s  {said}") for at, said in events]
    for log in sorted(logs.glob(f"{web}*.log")):
        events += [(at, said) for at, said in own_lines(log, begin + start) if 0 <= at <= until]
    # Equal times stay in order.
    events.sort(key=lambda event: event[0])
    head = f"{row['variant']}: stop {1 - number} of {len(stops)}, of {web}; requests to it, by when they came\n"
    return head + table(by_outcome(its), events, -1, math.ceil(until))
