"""How the daemons log: an event with fields, one line each, which no input can forge and no full disk can stop.

Lines go through a bounded queue to a thread that writes them, so a log that blocks or fails costs lines, never an
operation (F59). Every field is cut to 1 KiB and its control characters are escaped (T14).
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from vmdkvol.errors import one_line

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
MAX_FIELD = 1024
_MAX_TRACE = 16 * 1024
_MAX_WAITING = 4096
# syslog's numbers; journald reads "<n>" at the beginning of a line from a service's standard error.
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3}

_Event = Mapping[str, Any]
_Form = Callable[[_Event], str]
# The fields of ``bound``, one mapping for each thread. Nobody changes it: a block puts another one in its place.
_BOUND: ContextVar[_Event] = ContextVar("bound", default=MappingProxyType({}))


class Log(Protocol):
    """What ``get`` returns: an event is a few constant words, everything that varies is a field."""

    def debug(self, event: str, **fields: object) -> object: ...
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...
    def exception(self, event: str, **fields: object) -> object:
        """As ``error``, with the traceback of the exception that is being handled."""
        ...


class Secret:
    """A text that no log, message, repr or pickle shows; only ``reveal`` does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


class Output:
    """Writes lines to a descriptor from a thread of its own. A line that finds the queue full is counted and dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[str | threading.Event] = queue.Queue(_MAX_WAITING)
        self._lock = threading.Lock()
        self._owner = 0
        self.dropped = 0

    def write(self, line: str) -> None:
        """Queue the line and return at once, whatever the descriptor does."""
        if self._owner != os.getpid():
            self._start()
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def flush(self, seconds: float) -> bool:
        """Wait until what was queued is written; tell whether that came within ``seconds``."""
        if self._owner != os.getpid():
            return True
        reached = threading.Event()
        try:
            self._waiting.put(reached, timeout=seconds)
        except queue.Full:
            return False
        return reached.wait(seconds)

    def _start(self) -> None:
        # Threads do not survive a fork: the child needs one of its own, and nothing of its parent's lines.
        with self._lock:
            if self._owner == os.getpid():
                return
            self._waiting = queue.Queue(_MAX_WAITING)
            self._owner = os.getpid()
            threading.Thread(target=self._run, args=(self._waiting,), name="log", daemon=True).start()

    def _run(self, waiting: queue.Queue[str | threading.Event]) -> None:
        while True:
            item = waiting.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            lost, self.dropped = self.dropped, 0
            tail = f" [{lost} lines before this one were lost]" if lost else ""
            data = f"{item}{tail}\n".encode("utf-8", "backslashreplace")
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                self.dropped += lost + 1


@dataclass(slots=True)
class _Target:
    """Where the lines of this process go, and from which level up. Before ``configure``: warnings, for tests."""

    level: int = logging.WARNING
    form: _Form | None = None
    write: Callable[[str], None] = field(default=lambda line: print(line, file=sys.stderr))


_TARGET = _Target()


def configure(level: str = "info", *, descriptor: int = 2) -> Output:
    """Log from now on to ``descriptor``, from ``level`` up; what libraries log as warnings comes along.

    JSON lines, or a form for people if the descriptor is a terminal; under systemd each line has its priority.
    Called again it replaces what was there. Returns the output, for a daemon to ``flush`` before it exits.
    """
    output = Output(descriptor)
    form = _for_people if os.isatty(descriptor) else _as_json
    _TARGET.level, _TARGET.write = LEVELS[level], output.write
    _TARGET.form = _with_priority(form) if _to_journal(descriptor) else form
    logging.basicConfig(handlers=[_Bridge(logging.WARNING)], level=logging.WARNING, force=True)
    return output


def unconfigure() -> None:
    """Log as before ``configure``: a test leaves nothing of its own to the next one."""
    before = _Target()
    _TARGET.level, _TARGET.form, _TARGET.write = before.level, before.form, before.write


def get(name: str) -> Log:
    """Return the log of a part of the program. Before ``configure`` it writes warnings to standard error, for tests."""
    return _PartLog(name)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Inside the block every line of this thread carries ``fields``, such as the request's id."""
    token = _BOUND.set({**_BOUND.get(), **fields})
    try:
        yield
    finally:
        _BOUND.reset(token)


def bound_id(name: str) -> UUID | None:
    """Return the id that is bound under this name on this thread; None if there is none."""
    try:
        return UUID(str(_BOUND.get().get(name)))
    except ValueError:
        return None


class _PartLog:
    """What ``get`` returns: it looks at the process's target each time, so that it may be made before ``configure``."""

    __slots__ = ("_part",)

    def __init__(self, part: str) -> None:
        self._part = part

    def debug(self, event: str, **fields: object) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._write("error", event, fields)

    def exception(self, event: str, **fields: object) -> None:
        self._write("error", event, {**fields, "exception": traceback.format_exc().rstrip()})

    def _write(self, level: str, event: str, fields: _Event) -> None:
        target = _TARGET
        if LEVELS[level] < target.level:
            return
        line = {"level": level, "event": event, "part": self._part, **_BOUND.get(), **fields} | {"level": level, "event": event}
        target.write((target.form or _for_people)(_harmless(line)))


class _Bridge(logging.Handler):
    """Hands what libraries log to our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get(record.name)
        write = log.error if record.levelno >= logging.ERROR else log.warning
        traced = {} if not record.exc_info else {"exception": "".join(traceback.format_exception(record.exc_info[1])).rstrip()}
        write("library message", message=record.getMessage(), **traced)


def _to_journal(descriptor: int) -> bool:
    # systemd.exec(5): JOURNAL_STREAM is "device:inode" of the stream; inherited by children whose output goes elsewhere.
    found = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _harmless(event: _Event) -> _Event:
    return {key: _field(value, _MAX_TRACE if key == "exception" else MAX_FIELD) for key, value in event.items()}


def _field(value: object, limit: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    try:
        text = one_line(str(value), limit)
    except Exception as error:  # noqa: BLE001 - a log line must not fail, whatever somebody's __str__ does
        text = f"<{type(value).__name__} without text: {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace")[:limit].decode("utf-8", "ignore")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _as_json(event: _Event) -> str:
    return json.dumps({"time": _now(), **event}, ensure_ascii=False)


def _for_people(event: _Event) -> str:
    fields = " ".join(f"{key}={_word(value)}" for key, value in event.items() if key not in ("level", "event", "exception"))
    line = f"{_now()[11:23]} {event['level']:7} {event['event']} {fields}".rstrip()
    trace = event.get("exception")
    return line if trace is None else f"{line}\n{str(trace).replace(chr(92) + 'n', chr(10))}"


def _word(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text


def _with_priority(form: _Form) -> _Form:
    """Return ``form`` with the line's syslog priority before it, as journald reads it."""
    return lambda event: f"<{_PRIORITY[str(event['level'])]}>{form(event)}"
