"""The two services by which others read and set the log levels of a node's process."""

from __future__ import annotations

from . import logging
from .messages import message_class, service_class


class LoggingService:
    """Serves `get_logger_levels` and `set_logger_levels` under the node's name."""

    def __init__(self, node) -> None:
        for name, kind, callback in (
            ('get_logger_levels', 'GetLoggerLevels', self._get),
            ('set_logger_levels', 'SetLoggerLevels', self._set),
        ):
            service = service_class(f'rcl_interfaces/srv/{kind}')
            node.create_service(service, f'~/{name}', callback)

    def _get(self, request, response):
        level = message_class('rcl_interfaces/msg/LoggerLevel')
        response.levels = [
            level(name=name, level=int(logging.get_logger_level(name))) for name in request.names
        ]
        return response

    def _set(self, request, response):
        result = message_class('rcl_interfaces/msg/SetLoggerLevelsResult')
        for wanted in request.levels:
            try:
                logging.set_logger_level(wanted.name, wanted.level)
                response.results.append(result(successful=True))
            except ValueError as error:
                response.results.append(result(successful=False, reason=str(error)))
        return response
