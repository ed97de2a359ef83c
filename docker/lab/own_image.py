"""make lab IMAGE=my/app: what `docker stop` costs with an image that is there, as it is,
and with drainit in front of its entrypoint and command. docker/lab/lab runs it, and has
the load balancers, the stops and the table."""

import json
import re
import shlex
import subprocess
import tempfile
import time
import urllib.parse

import __main__ as lab
from shared import (
    NAME, REPOSITORY, Fault, Signals, build_drainit, docker, gist, number, own_lines, popen, run_long, say, versions,
)

TODAY = "today"
# The settings of drainit are for variants that are called so. In the place of a
# supervisor it runs php-fpm and nginx, and nothing else that the supervisor ran.
IN_FRONT = "drainit in front"
IN_PLACE = "drainit in its place"
# Seconds in which those two have to answer.
START_IN_PLACE = 15
# drainit's names for the architectures that Docker names.
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
# Of `docker run`: what the lab gives itself, or what two containers can't both have.
OURS = re.compile(
    r"--(name|net|network|network-alias|ip|ip6|publish|publish-all|rm|detach|label|cidfile)(=|$)|-[it]*[dlpP]"
)
# What drainit takes for a stop request, so that the image's STOPSIGNAL may stay.
STOP_REQUESTS = {"", "TERM", "15", "QUIT", "3", "PWR", "30", "WINCH", "28", "RTMIN+3", "37"}
# Who else may be in the image, starts again what drainit has drained, and how drainit takes
# its place.
SUPERVISORS = {
    "supervisord": ("supervisord", "docs/your-image.md#supervisord"),
    "s6-svscan": ("s6", "docs/your-image.md#s6-overlay"),
    "runsvdir": ("runit", "docs/your-image.md"),
}


# --- what is to be done -----------------------------------------------------


def choices(environ):
    for name in ("VARIANTS", "TOPOLOGY", "MODE", "CHECK"):
        if name in environ:
            raise Fault(f"{name}: not with IMAGE")
    given = {"RATE": "50", **environ}
    port = given.pop("PORT", None)
    chosen = lab.choices(given)
    words = split("IMAGE", environ["IMAGE"])
    if not words:
        raise Fault("IMAGE: names none")
    run = split("RUN", environ.get("RUN", ""))
    for word in run:
        if OURS.match(word):
            raise Fault(f"RUN: leave {word} out; the lab gives its containers a name, a network and ports itself")
    chosen.update(
        image=words[0],
        command=words[1:],
        run=run,
        pages=[page(url) for url in environ.get("URL", "/").split()],
        web_port=port and number("PORT", port, int, 1, 65535),
        start_s=number("START", environ.get("START", "60"), float, 1, 3600),
        heading=f"what docker stop of {words[0]} costs today, and with drainit",
    )
    return chosen


def split(variable, text):
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Fault(f"{variable}: {error}") from None


def page(url):
    """What is sent as Host, or nothing, and the path."""
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    if not parts.scheme and url.startswith("/"):
        return [None, path]
    if parts.scheme == "http" and parts.hostname:
        return [parts.hostname, path]
    raise Fault(f"URL: {url} is neither a path, such as /, nor http://HOST/PATH")


def lab_of_it(chosen):
    image = inspect_image(chosen)
    lab.build_the_labs_own(chosen)
    with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as directory:
        chosen["binary"] = binary(ARCHITECTURES.get(image["Architecture"], image["Architecture"]), directory)
        notes = look(chosen)
        chosen["topologies"] = [f"port {chosen['web_port']}"]
        chosen["server"] = lambda *arguments: Server(chosen, *arguments)
        balancers = [name for name in ("haproxy", "nginx") if any(lb.startswith(name) for lb in chosen["lbs"])]
        is_image = f"{chosen['image']} is {image['Id'].removeprefix('sha256:')[:12]}"
        used = versions([f"{NAME}-balancer"], balancers) if balancers else ""
        chosen["origin"] = lab.came_about(chosen, [used, is_image])
        rows = lab.planned(chosen)
        for row in rows:
            row.update(port=chosen["web_port"], pages=chosen["pages"])
        lab.measure(rows, chosen)
    for line in [*notes, *conclusions(rows, chosen)]:
        say(line)


# --- the image --------------------------------------------------------------


def inspect_image(chosen):
    image = chosen["image"]
    said = docker("image", "inspect", image, check=False)
    if said is None:
        say(f"pulling {image}")
        try:
            run_long("docker", "pull", "--quiet", image)
        except Fault as fault:
            raise Fault(f"IMAGE: there is no image {image} here, nor can it be had: {fault}") from None
        said = docker("image", "inspect", image)
    described = json.loads(said)[0]
    config = described["Config"]
    if not (config["Entrypoint"] or config["Cmd"] or chosen["command"] or any(word.startswith("--entrypoint") for word in chosen["run"])):
        raise Fault(f'IMAGE: {image} has neither an ENTRYPOINT nor a CMD; name a command, as in IMAGE="{image} COMMAND"')
    if not chosen["web_port"]:
        chosen["web_port"] = exposed(image, config.get("ExposedPorts") or {})
    return described


def exposed(image, ports):
    """80, if the image exposes that or nothing, else the only port that it exposes."""
    ports = sorted(int(port.removesuffix("/tcp")) for port in ports if port.endswith("/tcp"))
    if not ports or 80 in ports:
        return 80
    if len(ports) > 1:
        raise Fault(f"PORT: {image} exposes {' '.join(map(str, ports))}; say which one is to be asked")
    return ports[0]


def binary(architecture, directory):
    """A file that is drainit: that of `make dist`, else that of the image."""
    path = REPOSITORY / f"dist/drainit-{architecture}-linux-musl"
    if path.exists():
        return path
    found = docker("image", "inspect", "--format", "{{.Architecture}}", "drainit", check=False)
    if ARCHITECTURES.get(found, found) != architecture:
        say("building drainit (some minutes at the first time)")
        build_drainit()
    with Signals.shield():
        container = docker("create", "--label", NAME, "drainit")
        docker("cp", f"{container}:/drainit", f"{directory}/drainit")
        docker("rm", container)
    return f"{directory}/drainit"


def options(variant, chosen, environment=()):
    """What stands behind `docker create`: options, the image, and its arguments."""
    if variant == TODAY:
        return [*chosen["run"], chosen["image"], *chosen["command"]]
    config = chosen["config"]
    signal = config.get("StopSignal", "").removeprefix("SIG")
    # drainit would take another one for something else. It stays what the image's own
    # process gets.
    other = [] if signal in STOP_REQUESTS else [f"--stop-signal={signal}"]
    return [
        *chosen["run"],
        *(["--stop-signal=SIGTERM"] if other else []),
        *(f"--env={key}={value}" for key, value in environment),
        f"--mount=type=bind,source={chosen['binary']},target=/drainit,readonly",
        "--entrypoint=/drainit", chosen["image"],
        # As the container without it has them: shell lines are words for /bin/sh by now.
        *([*other, "--", *(config["Entrypoint"] or []), *(config["Cmd"] or [])] if variant == IN_FRONT else []),
    ]


# --- a look at it before the load comes -------------------------------------


def look(chosen):
    """Sees how it answers, and so which variants can be measured; returns what is to be said
    of that."""
    seen = look_at(TODAY, chosen, chosen["start_s"])
    chosen["variants"] = [TODAY]
    if seen["first"] == "drainit":
        return [f"drainit is PID 1 of {chosen['image']} already"]

    supervisor, page_of = next((SUPERVISORS[name] for name in seen["processes"] if name in SUPERVISORS), (None, None))
    notes = []
    try:
        look_at(IN_FRONT, chosen, chosen["start_s"])
        chosen["variants"].append(IN_FRONT)
        if supervisor:
            notes.append(f"drainit in front isn't all that it can do: {supervisor} starts again what drainit has drained")
    except Fault as fault:
        notes.append(f"drainit in front can't be measured: {reason(fault)}")
    if supervisor:
        notes.append(f"better is drainit in the place of {supervisor}: {page_of}")
        try:
            look_at(IN_PLACE, chosen, START_IN_PLACE)
            chosen["variants"].append(IN_PLACE)
            notes[-1] += f"; measured with php-fpm and nginx, and nothing else that {supervisor} runs"
        except Fault as fault:
            notes.append(f"without a list of its services that can't be measured: {reason(fault)}")
    for note in notes:
        say(note)
    return notes


def reason(fault):
    """Without the name of a variable, which isn't at fault."""
    return str(fault).split(": ", 1)[1]


def look_at(variant, chosen, seconds):
    """What there is to see of such a container once it answers; says what is wrong if it doesn't."""
    container = f"{NAME}-look"
    docker("create", "--name", container, "--label", NAME, *options(variant, chosen))
    try:
        if variant == TODAY:
            chosen["config"] = json.loads(docker("inspect", "--format", "{{json .Config}}", container))
        return probe(container, chosen, seconds)
    finally:
        docker("rm", "--force", "--volumes", container)


def probe(container, chosen, seconds):
    port = chosen["web_port"]
    try:
        docker("start", container)
    except Fault as fault:
        raise Fault(f"IMAGE: it can't be started: {fault}") from None
    address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
    child = popen(
        "docker", "run", "--rm", "--label", NAME, "--network", f"container:{container}", "--pid", f"container:{container}",
        f"{NAME}-load", "python3", "/probe.py", address, str(port), str(seconds), json.dumps(chosen["pages"]),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    printed, errors = child.communicate()
    if child.returncode:
        # It goes with the container's PID 1.
        if docker("inspect", "--format", "{{.State.Running}}", container) == "true":
            raise Fault(f"the look at the container failed: {gist(errors)}")
        status = docker("inspect", "--format", "{{.State.ExitCode}}", container)
        raise Fault(f"IMAGE: it ended by itself, with exit code {status}: {last_words(container)}")
    seen = json.loads(printed)
    for (_, path), answer in zip(chosen["pages"], seen["answers"]):
        if answer is None:
            raise Fault(f"PORT: {nobody_listens(port, seen['listening'], seconds)}")
        if answer == "no HTTP":
            hint = "; php-fpm speaks FastCGI: measure an image with a web server" if any("php-fpm" in name for name in seen["processes"]) else ""
            raise Fault(f"PORT: what listens on {port} doesn't speak HTTP{hint}")
        if answer == "silent":
            raise Fault(f"URL: no answer to {path} within 15 s")
        if not 200 <= answer < 400:
            raise Fault(f"URL: the answer to {path} is {answer}; it has to be 2xx or 3xx")
    return seen


def nobody_listens(port, listening, seconds):
    if str(port) in listening:
        return f"{port} is listened on for the container itself alone (127.0.0.1), so nobody else reaches it"
    others = " ".join(sorted((other for other, is_open in listening.items() if is_open), key=int))
    return f"nothing listens on {port} after {seconds:g} s" + (f", but on {others}" if others else "")


def last_words(container):
    """The last line of its log that isn't drainit's, else the last."""
    with Signals.shield():
        done = subprocess.run(
            ["docker", "logs", "--tail", "50", container], check=False, start_new_session=True, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
        )
    own = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("drainit: "))
    return gist(own if own.strip() else done.stdout)


# --- a server behind the load balancer --------------------------------------


class Server(lab.Web):
    """One of the two: a container of the image."""

    def __init__(self, chosen, name, row, address):
        self.name = name
        self.row = row
        self.patience = chosen["start_s"]
        container = f"{NAME}-{name}"
        labels = {**lab.LABELS, "traefik.http.services.web.loadbalancer.server.port": row["port"]}
        docker(
            "create", "--name", container, *(f"--label={key}={value}" for key, value in labels.items()),
            "--network", NAME, "--ip", address, "--network-alias", name, "--network-alias", "web",
            *self.health_check(), *options(row["variant"], chosen, row["environment"].items()),
        )
        self.containers = [container]

    def health_check(self):
        """How Traefik learns of a stop from drainit in time; nobody else asks for it."""
        if self.row["lb"] != "traefik" or self.row["variant"] == TODAY:
            return []
        return ["--health-cmd=/drainit ready", "--health-interval=1s", "--health-retries=1", "--health-start-period=60s"]

    def start(self, shell):
        [container] = self.containers
        docker("start", container)
        until = time.monotonic() + self.patience
        # Traefik leaves out what isn't healthy.
        while self.row["lb"] == "traefik" and lab.health(container) not in ("", "healthy"):
            if time.monotonic() > until:
                raise Fault(f"{self.row['variant']}: {self.name} doesn't become healthy; see the logs in the results directory")
            time.sleep(0.2)
        if shell.run(lab.until_answered(f"{self.name}:{self.row['port']}", self.row["pages"]), self.patience):
            raise Fault(f"{self.row['variant']}: {self.name} doesn't answer any more: {last_words(container)}")


# --- what it means ----------------------------------------------------------


def conclusions(rows, chosen):
    for row in rows:
        per_stop = f"{row['failures'] / row['stops']:.3g}"
        killed = ", then it is killed" if row["seconds_per_stop"] >= row["grace_s"] else ""
        yield f"{lab.title(row)}: a docker stop costs {per_stop} failed requests, and takes {row['seconds_per_stop']:.1f} s{killed}"
        if row["failures_before_the_stops"]:
            yield f"{row['failures_before_the_stops']} requests failed before the first stop: it can't answer RATE={row['rate_asked']} here"
    logs = [log for row in rows for log in sorted(lab.logs_of(row, chosen).glob("web*.log"))]
    said = [line for log in logs for _, line in own_lines(log, 0)]
    warnings = sorted({line.split("warning: ", 1)[1] for line in said if "warning: " in line})
    yield from (f"drainit warns: {warning}" for warning in warnings)
    reports = [line for line in said if re.match(r"drainit: +[\d.]+ s  report ", line)]
    if reports:
        yield f"the last report of drainit: {reports[-1].split('  report', 1)[1].strip()}"
