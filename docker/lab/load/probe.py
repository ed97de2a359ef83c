"""What a container does, seen from within its namespaces of network and processes:
probe.py ADDRESS PORT SECONDS PAGES.

It waits until each of the PAGES, pairs of a Host, or null, and a path, is answered by
2xx or 3xx at that address, for so many seconds at most, and prints as JSON:

  listening  the TCP ports that somebody listens on, each with whether others than the
             container itself can reach it
  answers    of each page the status, or null (nobody listens), or "silent", or
             "no HTTP"
  processes  their names; first is the name of PID 1
"""

import http.client
import json
import pathlib
import sys
import time

LISTEN = "0A"
# As /proc/net/tcp and tcp6 write 127.0.0.1 and ::1, whatever the last three bytes of
# the first are.
LOOPBACK = ("7F", "00000000000000000000000001000000")
# For how long what doesn't speak HTTP may be something that still starts.
NO_HTTP_FOR = 1


def listening():
    ports = {}
    for table in ("tcp", "tcp6"):
        try:
            lines = pathlib.Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]
        except FileNotFoundError:
            # A kernel without IPv6.
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            address, port = local.split(":")
            if state == LISTEN:
                is_loopback = address == LOOPBACK[1] if len(address) > 8 else address.endswith(LOOPBACK[0])
                ports[int(port, 16)] = ports.get(int(port, 16), False) or not is_loopback
    return ports


def answer(address, port, host, path):
    connection = http.client.HTTPConnection(address, port, timeout=15)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", path, headers={"Connection": "close", **({"Host": host} if host else {})})
        return connection.getresponse().status
    except TimeoutError:
        return "silent"
    except (OSError, http.client.HTTPException):
        return "no HTTP"
    finally:
        connection.close()


def processes():
    """Names by pid, without this one."""
    names = {}
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            names[int(comm.parent.name)] = comm.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            # It has ended.
            continue
    names.pop(int(pathlib.Path("/proc/self").readlink().name), None)
    return names


def main():
    address, port, seconds, pages = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])
    until = time.monotonic() + seconds
    no_http_until = None
    while True:
        answers = [answer(address, port, host, path) for host, path in pages]
        now = time.monotonic()
        if "no HTTP" not in answers:
            no_http_until = None
        elif no_http_until is None:
            no_http_until = now + NO_HTTP_FOR
        is_right = all(isinstance(status, int) and 200 <= status < 400 for status in answers)
        if is_right or now >= until or (no_http_until is not None and now >= no_http_until):
            break
        time.sleep(0.1)
    names = processes()
    print(
        json.dumps(
            {"listening": listening(), "answers": answers, "processes": sorted(set(names.values())), "first": names.get(1)}
        )
    )


main()
