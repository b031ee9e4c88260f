"""Runs a command on a pseudo-terminal, and tells what the terminal got, as lines of JSON.

usage: terminal.py COLUMNS ACTIONS COMMAND...

ACTIONS is a JSON list of {"after": TEXT, "columns": N} and {"after": TEXT, "type": TEXT}: one by one,
each once the terminal has got TEXT since the one before, the terminal becomes N columns wide, or somebody
types TEXT.
"""

import codecs
import fcntl
import json
import os
import pty
import struct
import sys
import termios

ROWS = 24


def resize(fd: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))


def tell(event: dict) -> None:
    print(json.dumps(event), flush=True)


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # Linux: nobody has the terminal open any more.
        return b""


def act(fd: int, action: dict) -> None:
    if "type" in action:
        os.write(fd, action["type"].encode())
    else:
        tell({"columns": action["columns"]})
        resize(fd, action["columns"])


def main() -> None:
    columns, actions, command = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    pid, fd = pty.fork()
    if pid == 0:
        resize(0, columns)
        os.execvp(command[0], command)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    since = ""
    while data := read(fd):
        text = decoder.decode(data)
        tell({"text": text})
        since += text
        while actions and actions[0]["after"] in since:
            since = since.split(actions[0]["after"], 1)[1]
            act(fd, actions.pop(0))
    tell({"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})


main()
