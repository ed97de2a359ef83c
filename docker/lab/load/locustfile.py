"""The load: requests at a constant rate that nothing lowers.

Each user sends RATE_EACH requests a second, each in a greenlet of its own, at
times that are fixed beforehand: neither failures nor slow answers hold up the
next. Nothing is sent twice, which is why this has no HTTP library that hides
retries; a request ends in exactly one of the outcomes below.

Below a lab (LAB=HOST…) it takes orders on standard input (`targets HOST…`, `end`)
and writes counts and failures as lines of JSON; else it is an ordinary
locustfile for the host of --host. It asks for the pages of the lab's own site, or
for PAGES, pairs of a Host, or null, and a path, whose answer may be any 2xx or 3xx;
LAB_HOST is the Host of the lab's own.
"""

import collections
import dataclasses
import hashlib
import http.client
import json
import os
import random
import socket
import sys
import time
import urllib.parse
from collections.abc import Callable

import gevent
import gevent.fileobject
from locust import User, constant, events, task

RATE_EACH = float(os.environ.get("RATE_EACH", "10"))
PAGES = json.loads(os.environ.get("PAGES", "[]"))
HOST = os.environ.get("LAB_HOST")
# Slow requests come in bursts, so that more run than pm.max_children allows,
# and some queue: at 10 a second, of the 40 requests between two bursts, two.
BURST_EVERY = 4.0
SLOW_PER_BURST = 2
SLOW_TAKES = (0.5, 2.5)
KEEP_ALIVE_SHARE = 0.7
PATIENCE = 15.0
# A server of the lab says in it which one it is.
SERVER = "X-Lab-Server"

targets = []
# Connections that wait for their next request. The one that has waited for the
# longest is next, as with many clients that come back now and then.
idle = collections.deque()
# (tenth of a second of arrival, outcome, server) -> number, since the last report.
counts = collections.Counter()
# For each server that says who it is: when what it answered last came, on a new
# connection and on any.
latest = {}
totals = {"sent": 0, "outstanding": 0, "latest_s": 0.0}
ended = False


class Failed(Exception):
    """How a request failed: refused, reset-fresh, reset-reused, cut, 502, 503,
    504, timeout, or other."""

    def __init__(self, outcome, detail):
        super().__init__(outcome)
        self.outcome = outcome
        self.detail = str(detail)


@dataclasses.dataclass
class Request:
    method: str
    name: str
    path: str
    body: bytes | None = None
    host: str | None = HOST
    is_right: Callable[[int], bool] = lambda status: status == 200
    is_whole: Callable[[bytes], bool] = lambda answer: True
    # Who answered, if it says so, else whom it was sent to, once that is known.
    server: str | None = None


def lab_says(**line):
    if os.environ.get("LAB"):
        print(json.dumps(line), flush=True)


def is_open(connection):
    """Whether the server hasn't closed it: what every client asks first."""
    connection.sock.settimeout(0)
    try:
        connection.sock.recv(1, socket.MSG_PEEK)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.sock.settimeout(PATIENCE)


def take_idle():
    while idle:
        connection = idle.popleft()
        if is_open(connection):
            return connection
        connection.close()
    return None


def connect(request):
    connection = http.client.HTTPConnection(random.choice(targets), timeout=PATIENCE)
    request.server = connection.host
    # Never by itself again, once it is closed.
    connection.auto_open = 0
    try:
        connection.connect()
    except TimeoutError as error:
        raise Failed("timeout", error) from error
    except socket.gaierror as error:
        raise Failed("other", error) from error
    except OSError as error:
        raise Failed("refused", error) from error
    return connection


def fetch(request, keep_alive):
    """Sends it once; raises Failed."""
    began = time.time()
    connection = take_idle() if keep_alive else None
    fresh = connection is None
    connection = connection or connect(request)
    request.server = connection.host
    age = "fresh" if fresh else "reused"
    where, reset = f"{connection.host} {age}", f"reset-{age}"
    try:
        headers = {} if keep_alive else {"Connection": "close"}
        if request.host:
            headers["Host"] = request.host
        try:
            connection.request(request.method, request.path, request.body, headers)
            first = connection.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError as error:
            raise Failed("timeout", where) from error
        except OSError as error:
            raise Failed(reset, f"{where}: {error}") from error
        if not first:
            raise Failed(reset, f"{where}: closed")
        try:
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError as error:
            raise Failed("timeout", f"{where}: after the first byte") from error
        except (OSError, http.client.HTTPException) as error:
            raise Failed("cut", f"{where}: {error!r}") from error
        if response.status in (502, 503, 504):
            raise Failed(str(response.status), where)
        if not request.is_right(response.status):
            raise Failed("other", f"{where}: status {response.status}")
        if not request.is_whole(answer):
            raise Failed("cut", f"{where}: {len(answer)} bytes")
        if server := response.headers.get(SERVER):
            request.server = server
            before = latest.get(server, [0, 0])
            latest[server] = [max(before[0], began if fresh else 0), max(before[1], began)]
        if keep_alive and not response.will_close:
            idle.append(connection)
            connection = None
    finally:
        if connection:
            connection.close()


def visit(environment, request):
    arrival = time.time()
    outcome, failure = "ok", None
    try:
        # A single step of it says more about itself.
        with gevent.Timeout(PATIENCE + 1, Failed("timeout", "the whole request")):
            fetch(request, random.random() < KEEP_ALIVE_SHARE)
    except Failed as error:
        outcome, failure = error.outcome, error
        lab_says(
            failure=outcome, at=arrival, took=time.time() - arrival, request=f"{request.method} {request.path}",
            detail=error.detail,
        )
    finally:
        totals["outstanding"] -= 1
    counts[int(arrival * 10) / 10, outcome, request.server] += 1
    environment.events.request.fire(
        request_type=request.method, name=request.name, response_time=(time.time() - arrival) * 1000,
        response_length=0, exception=failure, context={},
    )


class Visitor(User):
    wait_time = constant(0)

    def on_start(self):
        if not targets:
            targets.append(urllib.parse.urlsplit(self.host).netloc)
        self.due = time.monotonic() + random.random() / RATE_EACH
        self.burst = time.monotonic() // BURST_EVERY
        self.slow_left = 0

    @task
    def arrive(self):
        now = time.monotonic()
        if now < self.due:
            gevent.sleep(self.due - now)
        else:
            totals["latest_s"] = max(totals["latest_s"], now - self.due)
        self.due += 1 / RATE_EACH
        if ended:
            return
        burst = time.monotonic() // BURST_EVERY
        if burst != self.burst:
            self.burst, self.slow_left = burst, SLOW_PER_BURST
        totals["sent"] += 1
        totals["outstanding"] += 1
        gevent.spawn(visit, self.environment, self.request())

    def request(self):
        if PAGES:
            host, path = random.choice(PAGES)
            return Request("GET", path, path, host=host, is_right=lambda status: 200 <= status < 400)
        method, body = "GET", None
        if random.random() < 0.15:
            method, body = "POST", random.randbytes(random.randint(100, 20000))
        if self.slow_left:
            self.slow_left -= 1
            path = f"/slow.php?s={random.uniform(*SLOW_TAKES):.2f}"
            return Request(method, "/slow.php", path, body, is_whole=lambda answer: answer == b"slow, but whole\n")
        if method == "GET" and random.random() < 0.3:
            return Request(method, "/static.txt", "/static.txt", is_whole=lambda answer: answer == b"static, and whole\n")
        expected = b"fast %s\n" % hashlib.md5(body or b"").hexdigest().encode()
        return Request(method, "/fast.php", "/fast.php", body, is_whole=lambda answer: answer == expected)


def report():
    while True:
        gevent.sleep(0.25)
        if counts:
            batch = [[at, outcome, number, server] for (at, outcome, server), number in counts.items()]
            counts.clear()
            lab_says(counts=batch, latest=latest)


def obey(environment):
    global ended
    for line in gevent.fileobject.FileObjectThread(sys.stdin, "r"):
        order, *words = line.split()
        if order == "targets":
            targets[:] = words
        elif order == "end":
            ended = True
            while totals["outstanding"]:
                gevent.sleep(0.1)
            gevent.sleep(0.5)
            lab_says(end=totals)
            environment.runner.quit()


@events.init.add_listener
def on_init(environment, **_):
    if os.environ.get("LAB"):
        targets[:] = os.environ["LAB"].split()
        gevent.spawn(report)
        gevent.spawn(obey, environment)
