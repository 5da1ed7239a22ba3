"""A server under strace: what it writes, forces to the disk and sends, in one timeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import ServerProcess

WRITES = frozenset({"pwrite64"})
SYNCS = frozenset({"fsync", "fdatasync"})
SENDS = frozenset({"sendto", "send", "write", "writev", "sendmsg"})
# How much of the data is kept: a database's page; of a frame its type and the request's id.
KEPT_BYTES = 4_096

# 1234 1700000000.123456 fdatasync(17</tmp/db.sqlite3-wal>) = 0 <0.000123>
_LINE = re.compile(r"^(?P<thread>\d+) +(?P<at>\d+\.\d+) (?P<rest>.*)$")
_CALL = re.compile(r"^(?P<name>\w+)\((?P<text>.*)$")
_RESUMED = re.compile(r"^<\.\.\. (?P<name>\w+) resumed>(?P<text>.*)$")
_DATA = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SPENT = re.compile(r"<(\d+\.\d+)>$")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call; times are seconds since the epoch, `text` its arguments and result."""

    name: str
    text: str
    began_at: float
    ended_at: float

    @property
    def data(self) -> bytes:
        """What was written or sent, as far as it was kept."""
        found = _DATA.search(self.text)
        # strace escapes as C does.
        return found[1].encode().decode("unicode_escape").encode("latin-1") if found else b""


def under_strace(server: ServerProcess, strace: str, output: Path) -> ServerProcess:
    """Have `server`, not started yet, write down its calls to `output`.

    As strace's own child, which may always be traced; other processes often may not.
    """
    calls = ",".join(sorted(WRITES | SYNCS | SENDS))
    server.command = [
        *(strace, "--follow-forks", "--seccomp-bpf", "--decode-fds=path", "-ttt", "-T"),
        *("--string-limit", str(KEPT_BYTES), "--trace", calls, "--output", str(output)),
        *server.command,
    ]
    return server


def calls_of(output: Path, mark: int = 0) -> list[Call]:
    """The calls that have ended, in the order of their ends; those behind the place `mark`."""
    text = output.read_bytes()[mark:].decode(errors="replace")
    return sorted(_read(text), key=lambda call: call.ended_at)


def _read(text: str) -> Iterator[Call]:
    unfinished: dict[str, tuple[float, str]] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        thread, at, rest = found["thread"], float(found["at"]), found["rest"]
        if rest.endswith("<unfinished ...>"):
            unfinished[thread] = (at, rest.removesuffix("<unfinished ...>"))
        elif (resumed := _RESUMED.match(rest)) and thread in unfinished:
            began_at, before = unfinished.pop(thread)
            if call := _CALL.match(before):
                yield Call(call["name"], call["text"] + resumed["text"], began_at, at)
        elif (call := _CALL.match(rest)) and (spent := _SPENT.search(rest)):
            yield Call(call["name"], call["text"], at, at + float(spent[1]))
