"""One stop, second by second: what became of the requests to the server that was
stopped, by when they came, beside what drainit says meanwhile."""

import datetime
import math
import re

LOG_LINE = re.compile(r"^(?P<at>\S+) (?P<said>drainit: [^\r\n]*)", re.MULTILINE)


def moment(timestamp):
    """The time that stands before a line of `docker logs --timestamps`, as time.time() has it."""
    return datetime.datetime.fromisoformat(timestamp[:26] + "+00:00").timestamp()


def of_the_worst_stop(row, webs, stops, begin, counts, logs):
    """Of the stop that cost most requests, or of the first.

    The stops are seconds after the begin, the counts of tenths of a second and of each
    server. Once the row's lag has passed, the clients open no connection to that server;
    those that they have they use until it closes them.
    """
    seen = []
    for number, (start, end) in enumerate(stops):
        web, asked = webs[number % len(webs)], begin + start
        until = max(end - start, row["lag_s"])
        # The middle of a tenth is nearest to when its requests came.
        its = [
            (at + 0.05 - asked, outcome, count)
            for at, outcome, count, server in counts
            if server == web and asked - 1 <= at + 0.05 < asked + until
        ]
        failed = sum(count for _, outcome, count in its if outcome != "ok")
        seen.append((failed, -number, web, asked, end - start, until, its))
    _, number, web, asked, took, until, its = max(seen)

    events = [(0, "docker    stop"), (row["lag_s"], "clients   told: new connections go to the other server"), (took, "docker    stopped")]
    events = [(at, f"lab:     {at:5.1f} s  {said}") for at, said in events]
    for log in sorted(logs.glob(f"{web}*.log")):
        for line in LOG_LINE.finditer(log.read_text(encoding="utf-8", errors="replace")):
            at = moment(line["at"]) - asked
            if 0 <= at <= until:
                events.append((at, line["said"]))
    # Equal times stay in order.
    events.sort(key=lambda event: event[0])
    head = f"{row['variant']}: stop {1 - number} of {len(stops)}, of {web}; requests to it, by when they came\n"
    return head + table(its, events, math.ceil(until))


def table(requests, events, seconds):
    """A line for each second, from the one before the stop on, and one for each further event."""
    outcomes = ["ok", *sorted({outcome for _, outcome, _ in requests} - {"ok"})]
    names = ["answered" if outcome == "ok" else outcome for outcome in outcomes]
    lines = ["second  " + "  ".join(names)]
    for second in range(-1, seconds):
        counted = [sum(count for at, of, count in requests if of == outcome and math.floor(at) == second) for outcome in outcomes]
        numbers = "  ".join(f"{count or '':>{len(name)}}" for count, name in zip(counted, names))
        # What takes the whole last second may end a little later.
        said = [said for at, said in events if math.floor(at) == second or (second == seconds - 1 and at >= seconds)]
        for index, text in enumerate(said or [""]):
            left = f"{second:6}  {numbers}" if index == 0 else " " * (8 + len(numbers))
            lines.append(f"{left}  {text}".rstrip())
    return "\n".join(lines) + "\n"
