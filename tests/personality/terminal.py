"""terminal.py INIT [OPTION]…: runs a shell with it on a terminal of its own, as `docker
run -it` does, and prints what can be seen there."""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

PROMPT = "=?>"


class Session:
    def __init__(self, command):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)
        self.text = ""

    def read_until(self, pattern):
        give_up = time.monotonic() + 20
        while not (found := re.search(pattern, self.text)):
            left = give_up - time.monotonic()
            if left < 0 or not select.select([self.terminal], [], [], left)[0]:
                sys.exit(f"no {pattern!r} in {self.text!r}")
            self.text += os.read(self.terminal, 4096).decode()
        before, self.text = self.text[: found.start()], self.text[found.end() :]
        return before

    def type(self, text):
        os.write(self.terminal, text.encode())

    def run(self, line):
        self.type(line + "\n")
        said = self.read_until(re.escape(PROMPT))
        # Without the echo.
        return said.replace("\r", "").partition("\n")[2].strip()


def main():
    session = Session([*sys.argv[1:], "--", "env", f"PS1={PROMPT}", "TERM=dumb", "bash", "--norc", "--noediting", "-i"])
    print("at the start:", session.read_until(re.escape(PROMPT)).strip() or "nothing")
    print("state:", session.run("set -- $(ps -o tpgid=,pgid=,sid=,ppid= -p $$); "
                                "echo foreground $(($1 == $2)) leads $(($2 == $$)) "
                                "session $(($3 == $$)) below $(ps -o comm= -p $4)"))
    session.type("sleep 100\n")
    session.read_until("sleep 100")
    time.sleep(0.3)
    session.type("\x1a")
    print("Ctrl-Z:", "Stopped" in session.read_until(re.escape(PROMPT)))
    print("jobs:", "Stopped" in session.run("jobs"))
    session.type("fg\n")
    session.read_until("sleep 100")
    time.sleep(0.3)
    session.type("\x03")
    session.read_until(re.escape(PROMPT))
    print("after Ctrl-C:", session.run("echo $?"), "jobs:", session.run("jobs") or "none")
    fcntl.ioctl(session.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    print("size:", session.run("stty size"))
    print("tty:", "not a tty" not in session.run("tty"))
    print("background:", session.run("sleep 0 & wait $!; echo $?").splitlines()[-1].strip())
    session.type("exit 4\n")
    print("exit", os.waitstatus_to_exitcode(os.waitpid(session.pid, 0)[1]))


main()
