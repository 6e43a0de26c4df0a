"""Loggers with rclpy's interface, on stderr and, for nodes, on `/rosout`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType

_DEFAULT_FORMAT = '[{severity}] [{time}] [{name}]: {message}'


class LoggingSeverity(IntEnum):
    UNSET = 0
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


_COLORS = {
    LoggingSeverity.DEBUG: '\033[32m',
    LoggingSeverity.WARN: '\033[33m',
    LoggingSeverity.ERROR: '\033[31m',
    LoggingSeverity.FATAL: '\033[31m',
}


@dataclass(frozen=True)
class Record:
    """One log line with the place it comes from."""

    severity: LoggingSeverity
    name: str
    message: str
    stamp_ns: int
    file: str
    function: str
    line: int


_levels: dict[str, LoggingSeverity] = {'': LoggingSeverity.INFO}
_handlers: dict[str, Callable[[Record], None]] = {}
_stdout = True


def configure(arguments) -> None:
    """Apply the command line's log levels and switches."""
    global _stdout
    _stdout = arguments.stdout
    for name, level in arguments.log_levels.items():
        set_logger_level(name, LoggingSeverity[level])


def set_handler(name: str, handler: Callable[[Record], None] | None) -> None:
    """Pass the records of a logger and its children on to `handler` (None ends it)."""
    if handler is None:
        _handlers.pop(name, None)
    else:
        _handlers[name] = handler


def _lineage(name: str):
    while name:
        yield name
        name = name.rpartition('.')[0]


def get_logging_severity_from_string(text: str) -> LoggingSeverity:
    return LoggingSeverity[text.upper()]


def set_logger_level(name: str, level: int, detailed_error: bool = False) -> None:
    """Set the least severity that a logger ('' for all) lets through; UNSET takes it back."""
    level = LoggingSeverity(level)
    if level == LoggingSeverity.UNSET and name:
        _levels.pop(name, None)
    else:
        _levels[name] = level or LoggingSeverity.INFO


def get_logger_level(name: str) -> LoggingSeverity:
    return _levels.get(name, LoggingSeverity.UNSET)


def get_logger_effective_level(name: str) -> LoggingSeverity:
    return next((_levels[n] for n in _lineage(name) if n in _levels), _levels[''])


class RcutilsLogger:
    """A named logger: `get_logger('a').info('text', throttle_duration_sec=1.0)`."""

    def __init__(self, name: str = '') -> None:
        self.name = name
        # What each calling place has been told to filter, and when it last got through.
        self._places: dict[tuple, dict] = {}

    def get_child(self, name: str) -> RcutilsLogger:
        if not name:
            raise ValueError('Child logger name must not be empty.')
        return RcutilsLogger(f'{self.name}.{name}' if self.name else name)

    def set_level(self, level: int) -> None:
        set_logger_level(self.name, LoggingSeverity(level))

    def get_effective_level(self) -> LoggingSeverity:
        return get_logger_effective_level(self.name)

    def is_enabled_for(self, severity: int) -> bool:
        return LoggingSeverity(severity) >= self.get_effective_level()

    def log(self, message: str, severity: int, **kwargs: object) -> bool:
        """Log a line; False if a filter held it back.

        Keywords: `throttle_duration_sec` (with `throttle_time_source_type`, a Clock),
        `once`, `skip_first`, `name`.
        """
        severity = LoggingSeverity(severity)
        if not self.is_enabled_for(severity):
            return False
        name = kwargs.pop('name', self.name)
        frame = _calling_frame()
        if kwargs and not self._passes(frame, severity, kwargs):
            return False
        code = frame.f_code
        record = Record(
            severity, name, str(message), time.time_ns(), code.co_filename, code.co_name,
            frame.f_lineno,
        )
        if _stdout:
            _print(record)
        for ancestor in _lineage(name):
            if ancestor in _handlers:
                _handlers[ancestor](record)
                break
        return True

    def _passes(self, frame: FrameType, severity: LoggingSeverity, filters: dict) -> bool:
        unknown = set(filters) - {
            'throttle_duration_sec', 'throttle_time_source_type', 'skip_first', 'once'
        }
        if unknown:
            raise TypeError(f'not among the recognized logging options: {sorted(unknown)}')
        key = (frame.f_code, frame.f_lasti)
        place = self._places.setdefault(
            key, {'severity': severity, 'count': 0, 'last_ns': None, 'logged': False}
        )
        if place['severity'] != severity:
            raise ValueError('Logger severity cannot be changed between calls.')
        place['count'] += 1
        if not _past_throttle(place, filters):
            return False
        if filters.get('skip_first') and place['count'] == 1:
            return False
        if filters.get('once') and place['logged']:
            return False
        place['logged'] = True
        return True

    def debug(self, message: str, **kwargs: object) -> bool:
        return self.log(message, LoggingSeverity.DEBUG, **kwargs)

    def info(self, message: str, **kwargs: object) -> bool:
        return self.log(message, LoggingSeverity.INFO, **kwargs)

    def warning(self, message: str, **kwargs: object) -> bool:
        return self.log(message, LoggingSeverity.WARN, **kwargs)

    def warn(self, message: str, **kwargs: object) -> bool:
        return self.log(message, LoggingSeverity.WARN, **kwargs)

    def error(self, message: str, **kwargs: object) -> bool:
        return self.log(message, LoggingSeverity.ERROR, **kwargs)

    def fatal(self, message: str, **kwargs: object) -> bool:
        return self.log(message, LoggingSeverity.FATAL, **kwargs)


def _past_throttle(place: dict, filters: dict) -> bool:
    duration_s = filters.get('throttle_duration_sec')
    if not duration_s:
        return True
    clock = filters.get('throttle_time_source_type')
    now_ns = clock.now().nanoseconds if clock else time.monotonic_ns()
    last_ns = place['last_ns']
    if last_ns is not None and 0 <= now_ns - last_ns < duration_s * 1e9:
        return False
    place['last_ns'] = now_ns
    return True


def _calling_frame() -> FrameType:
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame


def _print(record: Record) -> None:
    template = os.environ.get('RCUTILS_CONSOLE_OUTPUT_FORMAT', _DEFAULT_FORMAT)
    values = {
        '{severity}': record.severity.name,
        '{name}': record.name,
        '{message}': record.message,
        '{function_name}': record.function,
        '{file_name}': record.file,
        '{line_number}': str(record.line),
        '{time}': f'{record.stamp_ns // 10**9}.{record.stamp_ns % 10**9:09d}',
        '{time_as_nanoseconds}': str(record.stamp_ns),
    }
    for key, value in values.items():
        template = template.replace(key, value)
    wanted = os.environ.get('RCUTILS_COLORIZED_OUTPUT', '')
    if record.severity in _COLORS and (wanted == '1' or (not wanted and sys.stderr.isatty())):
        template = f'{_COLORS[record.severity]}{template}\033[0m'
    try:
        sys.stderr.write(template + '\n')
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # the terminal is gone; a log line must not stop a robot


def get_logger(name: str) -> RcutilsLogger:
    if not name:
        raise ValueError('Logger name must not be empty.')
    return RcutilsLogger(name)


def initialize() -> None:
    """Nothing to do; rclpy has it."""


def shutdown() -> None:
    """Nothing to do; rclpy has it."""


def clear_config() -> None:
    """Forget all levels."""
    _levels.clear()
    _levels[''] = LoggingSeverity.INFO
