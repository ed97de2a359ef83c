"""Compares what drainit-import made of a supervisord.conf with what Supervisor itself
reads there. On standard input a line for each: the path of the configuration, of our
file (which isn't there where the importer couldn't read it) and of what the importer
said. Without a configuration our file has only to be TOML.
"""

import contextlib
import io
import os
import pwd
import re
import shlex
import signal
import sys
import tomllib
import types

from supervisor.datatypes import Automatic, RestartUnconditionally, RestartWhenExitUnexpected
from supervisor.options import EventListenerPoolConfig, FastCGIGroupConfig, ServerOptions

# Packages that images install beside Supervisor for its listeners.
stdout = types.ModuleType("supervisor_stdout")
stdout.event_handler = print
sys.modules["supervisor_stdout"] = stdout

RESTART = {
    RestartUnconditionally: "always",
    RestartWhenExitUnexpected: "on-failure",
    False: "no",
}
PRESET_STOPS = [
    (r"(nginx|nginx-debug|openresty|angie|tengine)", "QUIT"),
    (r"php5?-fpm[\d.]*", "QUIT"),
    (r"(apache2?|httpd)", "WINCH"),
]
OURS = {
    "stdout": ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/1/fd/1"),
    "stderr": ("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2", "/proc/1/fd/2"),
}


class Options(ServerOptions):
    def _processes_from_section(self, parser, section, group_name, klass=None):
        processes = super()._processes_from_section(parser, section, group_name, klass)
        for process in processes:
            process.program = section.split(":", 1)[1].strip()
            process.section = section
        return processes


def theirs(path):
    """The processes by program, or what Supervisor said on its way out."""
    said = io.StringIO()
    options = Options()
    options.stderr = said
    try:
        with contextlib.redirect_stderr(said):
            options.realize(["-n", "-c", path], doc="")
    except (SystemExit, Exception) as error:
        return None, said.getvalue() or repr(error)
    programs = {}
    for group in options.process_group_configs:
        if isinstance(group, (EventListenerPoolConfig, FastCGIGroupConfig)):
            continue
        for process in group.process_configs:
            programs.setdefault(process.program, []).append(process)
    return (options, programs), ""


def expanded(value):
    """A string of our file, with the environment's variables."""
    if isinstance(value, str):
        return re.sub(
            r"\$(?:\$|\{(\w+)\})",
            lambda it: os.environ[it[1]] if it[1] else "$",
            value,
        )
    if isinstance(value, list):
        return [expanded(it) for it in value]
    if isinstance(value, dict):
        return {key: expanded(it) for key, it in value.items()}
    return value


def uid(user):
    return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid


def preset_stop(name, argv):
    names = [name, *(os.path.basename(it.strip("\"';")) for word in argv for it in word.split())]
    for pattern, stop in PRESET_STOPS:
        if any(re.fullmatch(pattern, it) for it in names):
            return stop
    return None


def compare_program(name, processes, options, services, remarks):
    def said(*parts):
        return any(all(part in remark for part in parts) for remark in remarks)

    process = processes[0]
    mine = [it for it in services if it["name"] == name]
    if mine:
        count = int(expanded(mine[0].get("instances", 1)))
        yield "instances", len(processes), count
        if len(processes) == 1 and process.name != name:
            yield "its name is said", True, said("changed: process_name", f"called {name}")
        if len(processes) > 1:
            yield "instances are said", True, said("numprocs", f"{name}-1")
        pairs = [(it, mine[0]) for it in processes]
    else:
        names = [re.sub(r"[^\w.-]", "-", it.name) for it in processes]
        if any(it["name"] == f"{name}-{names[0]}" for it in services):
            names = [f"{name}-{it}" for it in names]
        mine = [it for it in services if it["name"] in names]
        if not mine and (said("refused", f"[{process.section}]") or said("refused", "command=")):
            return
        yield "names", sorted(names), sorted(it["name"] for it in mine)
        by_name = {it["name"]: it for it in mine}
        pairs = [(it, by_name[mine]) for it, mine in zip(processes, names) if mine in by_name]

    for process, service in pairs:
        service = expanded(service)
        command = service["command"]
        argv = command if isinstance(command, list) else shlex.split(command)
        yield "argv", shlex.split(process.command), argv
        if not said("refused: environment="):
            yield "environment", process.environment, service.get("environment", {})
        if not said("refused: directory="):
            yield "directory", process.directory, service.get("directory")
        user = process.uid if process.uid is not None else options.uid
        yield "user", user or 0, uid(service.get("user", "root"))
        enabled = str(service.get("enabled", True)).lower() in ("true", "yes", "on", "1")
        yield "autostart", process.autostart, enabled

        restart = service.get("restart", "no" if service.get("oneshot") else None)
        yield "autorestart", RESTART[process.autorestart], restart
        if service.get("oneshot"):
            yield "startsecs of a oneshot", 0, process.startsecs
        limit = service.get("restart-limit")
        if limit is not None and service.get("restart-delay") != "1s":
            yield "startretries", max(process.startretries, 1), int(limit)
        elif restart != "no" and process.startsecs != 0:
            yield "startretries", process.startretries, 3
        yield "exitcodes", process.exitcodes, service.get("success", [0])

        preset = preset_stop(name, argv)
        stop = signal.Signals["SIG" + service.get("stop-signal", preset or "TERM")]
        if stop != process.stopsignal:
            yield "stop signal is said", True, said("was wrong", "requests")
        timeout = int(service.get("stop-timeout", "10s").rstrip("s"))
        yield "stopwaitsecs", max(process.stopwaitsecs, 1), timeout

        for stream, ours in OURS.items():
            where = getattr(process, stream + "_logfile")
            key = "redirect_stderr" if stream == "stderr" and process.redirect_stderr else None
            if key or where not in ours:
                key = key or (
                    f"[{process.section}]: its " if where is Automatic else f"{stream}_logfile="
                )
                yield f"{stream} is said", True, said(key)
        for key in ("umask", "stdout_syslog", "stderr_syslog"):
            if getattr(process, key):
                yield f"{key} is refused", True, said("refused", key.replace("_syslog", ""))


def compare(conf, toml, remarks):
    if not conf:
        with open(toml, "rb") as file:
            tomllib.load(file)
        return
    read, why = theirs(conf)
    if not os.path.exists(toml):
        if read is not None:
            yield "readable", True, False
        return
    with open(toml, "rb") as file:
        ours = tomllib.load(file)
    with open(remarks) as file:
        remarks = file.read().splitlines()
    if read is None:
        is_said = any(re.search("supervisord (doesn't start with|can't read)", it) for it in remarks)
        yield f"it is said that Supervisor says {why!r}", True, is_said
        return
    options, programs = read
    services = ours.get("service", [])
    names = [it["name"] for it in services]
    yield "names once", len(names), len(set(names))
    for name, processes in programs.items():
        for what, right, mine in compare_program(name, processes, options, services, remarks):
            yield f"[program:{name}] {what}", right, mine


def main():
    count = differences = 0
    for line in sys.stdin:
        count += 1
        paths = line.rstrip("\n").split("\t")
        try:
            for what, right, mine in compare(*paths):
                if right != mine:
                    differences += 1
                    print(f"{paths[0]}: {what}: Supervisor {right!r}, ours {mine!r}")
        except Exception as error:
            differences += 1
            print(f"{paths[0]}: {error!r}")
    print(f"{count} compared, {differences} differences")
    sys.exit(differences != 0)


main()
