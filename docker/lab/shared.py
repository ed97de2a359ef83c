"""What the labs share: commands that a signal may end, images, Locust, table and picture."""

import contextlib
import datetime
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
NAME = "drainit-lab"
KINDS = ["refused", "reset-fresh", "reset-reused", "cut", "502", "503", "504", "timeout", "other"]
# The containers of each web server, by the stage of site/Dockerfile that is their
# image.
TOPOLOGIES = {
    "one": ["both"],
    "nginx": ["nginx-upstream"],
    "pod-tcp": ["php-fpm-tcp", "nginx-tcp"],
    "pod-unix": ["php-fpm", "nginx"],
}
# In the order of the table; others come after these.
ORDER = ["tini-shell", "supervisord", "supervisord-quit", "s6", "runit", "dumb-init-rewrite", "sigquit-shell", "script-with-delay"]
# Of Debian, in the images of the variants and of the load balancer.
PACKAGES = ["nginx", "php8.4-fpm", "haproxy", "tini", "dumb-init", "supervisor", "s6", "runit"]
# Requests per second of a Locust user, at most.
RATE_EACH = 10


class Fault(Exception):
    """Said in one line."""


class Signals:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, but not amid a docker command that
    makes something: else we would clean up before it is there."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    shielded = 0
    pending = False
    children = []

    @classmethod
    def received(cls, number, _):
        cls.pending = True
        # A second one must not end the cleaning.
        for other in cls.NUMBERS:
            signal.signal(other, signal.SIG_IGN)
        say(f"{signal.Signals(number).name}: cleaning up")
        if not cls.shielded:
            raise KeyboardInterrupt

    @classmethod
    @contextlib.contextmanager
    def shield(cls):
        cls.shielded += 1
        try:
            yield
        finally:
            cls.shielded -= 1
        if cls.pending and not cls.shielded:
            raise KeyboardInterrupt


def popen(*command, **options):
    """A child that Ctrl-C on the terminal doesn't reach: we end it ourselves."""
    with Signals.shield():
        child = subprocess.Popen(command, start_new_session=True, text=True, **options)
        Signals.children.append(child)
    return child


def gist(text):
    """The line that says why: the last one but for what docker says behind it."""
    idle = ("Run 'docker", "See 'docker", "Error: failed to start containers")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(idle)]
    return lines[-1] if lines else "it said nothing"


def answer(*command, check=True, given="", patience=60):
    """What a short command answers; nothing where it fails and that is no fault."""
    name = " ".join(command[:2])
    with Signals.shield():
        try:
            done = subprocess.run(
                command, check=False, start_new_session=True, text=True, capture_output=True, input=given,
                timeout=patience,
            )
        except subprocess.TimeoutExpired:
            raise Fault(f"{name}: no answer within {patience} s") from None
    if check and done.returncode:
        raise Fault(f"{name}: {gist(done.stderr)}")
    return done.stdout.strip() if done.returncode == 0 else None


def docker(*arguments, check=True):
    return answer("docker", *arguments, check=check)


def run_long(*command, **options):
    """One that takes minutes and that Ctrl-C may end."""
    child = popen(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    said = child.communicate()[0]
    if child.returncode:
        raise Fault(f"{' '.join(map(str, command))}: {gist(said)}")


def end_children():
    for child in Signals.children:
        if child.poll() is None:
            # With what it started: each has a session of its own.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    Signals.children.clear()


@contextlib.contextmanager
def cleaning(clean_up):
    """Cleans up at the end, whatever happens."""
    for number in Signals.NUMBERS:
        signal.signal(number, Signals.received)
    try:
        yield
    finally:
        # Nor may a first one end the cleaning.
        for number in Signals.NUMBERS:
            signal.signal(number, signal.SIG_IGN)
        Signals.pending = False
        end_children()
        clean_up()


def end_in_one_line(main):
    try:
        main()
    except Fault as fault:
        sys.exit(f"lab: {fault}")
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"lab: {error}")
    except KeyboardInterrupt:
        print("lab: interrupted; nothing is left running", file=sys.stderr)
        sys.exit(130)


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


def build(tag, context, *arguments):
    run_long("docker", "build", "--force-rm", "--tag", tag, *arguments, str(context))


def needs_docker():
    try:
        answers = docker("version", "--format", "{{.Server.Version}}", check=False)
    except FileNotFoundError:
        raise Fault("needs Docker: there is no docker command") from None
    if answers is None:
        raise Fault("Docker doesn't answer: docker version")


def build_load():
    run_long(str(REPOSITORY / "docker/base-images"), "debian:trixie-slim")
    build(f"{NAME}-load", HERE / "load")


def build_drainit():
    build("drainit", REPOSITORY, "--file", str(REPOSITORY / "docker/Dockerfile"))


def build_variants(wanted):
    """The images of pairs of a variant and a topology."""
    build_drainit()
    build(f"{NAME}-base", HERE / "base")
    for variant in dict.fromkeys(variant for variant, _ in wanted):
        build(f"{NAME}-{variant}", HERE / "variants" / variant)
    for variant, role in dict.fromkeys((variant, role) for variant, topology in wanted for role in TOPOLOGIES[topology]):
        build(
            f"{NAME}-{variant}:{role}", HERE / "site",
            "--build-arg", f"VARIANT={NAME}-{variant}", "--target", role,
        )


class Load:
    """Locust, in a container: a command runs it there that passes orders in and
    counts out."""

    def __init__(self, command, errors):
        # [tenth of a second of arrival, outcome, number, server]
        self.counts = []
        self.failures = []
        # Of each server that says who it is: when it last answered on a new
        # connection, and when at all.
        self.latest = {}
        self.end = None
        self.child = popen(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=1)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.child.stdout:
            if not line.startswith("{"):
                continue
            said = json.loads(line)
            self.counts += said.get("counts", [])
            self.latest.update(said.get("latest", {}))
            if "failure" in said:
                self.failures.append(said)
            self.end = said.get("end", self.end)

    def order(self, *words):
        # If it has ended, finish() says so.
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.write(" ".join(words) + "\n")
            self.child.stdin.flush()

    def steady(self):
        until = time.monotonic() + 30
        while not self.counts:
            if self.child.poll() is not None or time.monotonic() > until:
                raise Fault("Locust doesn't send; see the log in the results directory")
            time.sleep(0.1)

    def finish(self):
        self.order("end")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(timeout=40)
        self.reader.join(timeout=5)
        if not self.end:
            raise Fault("Locust ended early; see the log in the results directory")

    def sent(self):
        return sum(count for _, _, count, _ in list(self.counts))

    def since(self, moment):
        """The counts, by the seconds since then: the middle of a tenth is nearest to
        when its requests came."""
        return [[round(at + 0.05 - moment, 3), *what] for at, *what in self.counts]

    def figures(self, rate):
        """What a row says of it. To be called after finish()."""
        outcomes, arrivals = {}, {}
        for at, outcome, count, _ in self.counts:
            outcomes[outcome] = outcomes.get(outcome, 0) + count
            half = int(at * 2) / 2
            arrivals[half] = arrivals.get(half, 0) + count
        requests = sum(outcomes.values())
        if requests != self.end["sent"]:
            raise Fault(f"of {self.end['sent']} requests {requests} are accounted for")
        # Half seconds, without those in which it began and ended.
        inner = sorted(arrivals)[2:-2]
        return {
            "requests": requests,
            "failures": requests - outcomes.get("ok", 0),
            "failures_by_kind": {kind: outcomes.get(kind, 0) for kind in KINDS},
            "rate_asked": rate,
            "rate_sent": round(sum(arrivals[at] for at in inner) / (len(inner) / 2), 1),
            "latest_s": round(self.end["latest_s"], 3),
        }

    def save_failures(self, path):
        with open(path, "w", encoding="utf-8") as log:
            log.writelines(json.dumps(failure) + "\n" for failure in self.failures)


def locust(rate, **environment):
    """Its environment, as words of env(1), and its command line."""
    users = math.ceil(rate / RATE_EACH)
    environment["RATE_EACH"] = rate / users
    return [f"{name}={value}" for name, value in environment.items()], [
        "locust", "--headless", "--users", str(users), "--spawn-rate", "1000", "--only-summary", "--host", "http://lab",
    ]


REPORT = re.compile(
    r"^(?P<at>\S+) drainit: .* report +SIG\w+, took [\d.]+ s, delay (?P<delay>[\d.]+) s"
    r"(?:; told [\d.]+ s)?(?:; busy until (?P<busy>[\d.]+) s)?(?:; (?P<refused>\d+) refused)?;(?P<services>.*)"
    r"; exit (?P<exit>\d+)",
    re.MULTILINE,
)


def read_reports(log):
    """What drainit says of the stops of a server in a log with Docker's or the
    kubelet's timestamps."""
    for found in REPORT.finditer(log.read_text(encoding="utf-8", errors="replace")):
        # In a pod of two containers nginx is the server.
        if found["services"].startswith(" php-fpm ") and found["services"].count(" drained ") == 1:
            continue
        yield {
            "at": when(found["at"]), "delay": float(found["delay"]), "exit": int(found["exit"]),
            "busy": found["busy"] and float(found["busy"]), "refused": found["refused"] and int(found["refused"]),
        }


def when(timestamp):
    """2026-11-24T10:20:30.123456789Z, or with a node's own zone, in seconds."""
    date, fraction, zone = re.fullmatch(r"(.{19})\.?(\d*)(Z|[+-]\d\d:\d\d)", timestamp).groups()
    return datetime.datetime.fromisoformat(date + zone.replace("Z", "+00:00")).timestamp() + float(f"0.{fraction or 0}")


def own_lines(log, moment):
    """What drainit said: [seconds since then, what]."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        at, _, said = line.partition(" ")
        if said.startswith("drainit: "):
            yield [round(when(at) - moment, 2), said.rstrip()]


def span(values, unit="s"):
    """1.0 to 2.0 s"""
    return " to ".join(dict.fromkeys(f"{value:.1f}" for value in (min(values), max(values)))) + f" {unit}" if values else ""


def markdown(head, rows, words):
    """A table whose first columns are words, the others numbers."""
    lines = [head, *rows]
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in lines]
    lines.insert(1, "|" + "---|" * words + "--:|" * (len(head) - words))
    return "\n".join(lines) + "\n"


def versions(images, packages=PACKAGES):
    """Of Debian's packages in those images; nothing where there are none."""
    found = {}
    for image in images:
        said = docker(
            "run", "--rm", "--label", NAME, "--entrypoint", "sh", image, "-c",
            "dpkg-query --show --showformat '${Package} ${Version}\n' \"$@\" 2>/dev/null; true", "sh", *packages,
        )
        found.update(line.split() for line in said.splitlines() if " " in line.strip())
    return "Debian's " + ", ".join(f"{name} {version}" for name, version in sorted(found.items())) if found else ""


def locust_version():
    return (HERE / "load/requirements.txt").read_text(encoding="utf-8").split()[0].replace("==", " ")


def make_lab():
    """The command, with those variables that were given."""
    names = (
        "VARIANTS", "TOPOLOGY", "IMAGE", "PORT", "URL", "RUN", "LB", "INGRESS", "REPLICAS", "LAG", "DELAY", "GRACE",
        "CHECK", "MODE", "STOPS", "RATE",
    )
    return " ".join(["make lab", *(f'{name}="{os.environ[name]}"' for name in names if os.environ.get(name))])


def origin(command, rate, parts):
    """How this came about: command, date, versions."""
    return (
        f"`{command}`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {rate} requests/s; "
        f"{', '.join(filter(None, parts))}\n"
    )


def known_variants():
    known = sorted(path.parent.name for path in HERE.glob("variants/*/Dockerfile"))
    return sorted(known, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def words(environ, variable, default, allowed):
    given = environ.get(variable, "").split() or default
    for word in given:
        if word not in allowed:
            raise Fault(f"{variable}: {word} is unknown; there are {' '.join(allowed)}")
    return given


def number(variable, text, kind, low, high):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise Fault(f"{variable}: {text} is no number from {low} to {high}")
    return value


def kinds_in(rows):
    return [kind for kind in KINDS if any(row["failures_by_kind"][kind] for row in rows)]


def write_results(directory, rows, series, text):
    (directory / "lab.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (directory / "series.json").write_text(json.dumps(series) + "\n", encoding="utf-8")
    (directory / "lab.md").write_text(text, encoding="utf-8")


def finish(directory, text, heading=""):
    """Draws the picture, and prints the table."""
    for kind in ("svg", "png"):
        with open(directory / "series.json", "rb") as series, open(directory / f"lab.{kind}", "wb") as picture:
            child = popen(
                "docker", "run", "--rm", "--interactive", "--label", NAME, f"{NAME}-load", "python3", "/plot.py", kind, heading,
                stdin=series, stdout=picture,
            )
            if child.wait():
                raise Fault("the picture can't be drawn")
    print(text, end="")
    say(f"table, lab.json and picture are in {directory}")
