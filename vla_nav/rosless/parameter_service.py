"""The six services by which others reach a node's parameters."""

from __future__ import annotations

from .exceptions import ParameterNotDeclaredException, ParameterUninitializedException
from .messages import message_class, service_class
from .parameter import Parameter
from .qos import qos_profile_parameters

_SetParametersResult = message_class('rcl_interfaces/msg/SetParametersResult')


class ParameterService:
    """Serves `describe_parameters`, `get_parameters`, ... under the node's name."""

    def __init__(self, node) -> None:
        self._node = node
        for name, callback in (
            ('DescribeParameters', self._describe),
            ('GetParameters', self._get),
            ('GetParameterTypes', self._get_types),
            ('ListParameters', self._list),
            ('SetParameters', self._set),
            ('SetParametersAtomically', self._set_atomically),
        ):
            snake = ''.join(f'_{c.lower()}' if c.isupper() else c for c in name).lstrip('_')
            node.create_service(
                service_class(f'rcl_interfaces/srv/{name}'), f'~/{snake}', callback,
                qos_profile=qos_profile_parameters,
            )

    def _describe(self, request, response):
        try:
            response.descriptors = self._node.describe_parameters(request.names)
        except ParameterNotDeclaredException:
            pass  # as rclpy: an empty answer says that a name is unknown
        return response

    def _get(self, request, response):
        try:
            parameters = self._node.get_parameters(request.names)
        except (ParameterNotDeclaredException, ParameterUninitializedException):
            return response
        response.values = [parameter.get_parameter_value() for parameter in parameters]
        return response

    def _get_types(self, request, response):
        try:
            types = self._node.get_parameter_types(request.names)
        except ParameterNotDeclaredException:
            return response
        response.types = [kind.value for kind in types]
        return response

    def _list(self, request, response):
        response.result = self._node.list_parameters(request.prefixes, request.depth)
        return response

    def _set(self, request, response):
        response.results = [self._try_set([message]) for message in request.parameters]
        return response

    def _set_atomically(self, request, response):
        response.result = self._try_set(request.parameters)
        return response

    def _try_set(self, messages):
        try:
            return self._node.set_parameters_atomically(
                [Parameter.from_parameter_msg(message) for message in messages]
            )
        except (ParameterNotDeclaredException, ValueError) as error:
            return _SetParametersResult(successful=False, reason=str(error))
