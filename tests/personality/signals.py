"""signals.py INIT [OPTION]…: runs it as PID 1 of a PID namespace and sends it every
signal there is; prints those that its child got, and the exit code."""
import os
import signal
import subprocess
import sys
import time

CHILD = """
import os, signal
every = set(range(1, 65)) - {9, 17, 19, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
print("ready", flush=True)
while (got := signal.sigwait(every)) != signal.SIGTERM:
    print(int(got), flush=True)
os._exit(7)
"""
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def wait_for(what, condition):
    give_up = time.monotonic() + 20
    while not condition():
        if time.monotonic() > give_up:
            sys.exit(f"not in time: {what}")
        time.sleep(0.002)


def sleeps(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] in "ST"


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as found:
        return [int(child) for child in found.read().split()]


def main():
    command = [*NAMESPACE, *sys.argv[1:], "--", sys.executable, "-c", CHILD]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    init = children(child.pid)[0]
    [puppet] = children(init)
    for number in range(1, 65):
        # KILL and STOP are nobody's to pass on, TERM ends it, and 32 and 33 are the C library's.
        if number in (9, 15, 19, 32, 33):
            continue
        # By CONT, what dumb-init has stopped goes on.
        for sent in (number, signal.SIGCONT):
            os.kill(init, sent)
            wait_for("the init has done it", lambda: sleeps(init))
            # The kernel takes a pending TSTP away when CONT comes.
            wait_for("the child has done it", lambda: sleeps(puppet))
    os.kill(init, signal.SIGTERM)
    got = child.communicate(timeout=20)[0].split()
    print("got", *sorted(set(map(int, got))))
    print("exit", child.returncode)


main()
