"""Nodes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

from . import arguments, logging, names
from .callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from .client import Client
from .clock import ROSClock
from .context import Context, get_default_context
from .duration import S_TO_NS
from .exceptions import NotInitializedException
from .guard_condition import GuardCondition
from .logging_service import LoggingService
from .messages import Message, message_class
from .node_graph import NodeGraph
from .node_parameters import NodeParameters
from .parameter import Parameter
from .parameter_service import ParameterService
from .publisher import Publisher
from .qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_parameter_events,
    qos_profile_rosout_default,
    qos_profile_services_default,
)
from .service import Service
from .subscription import Subscription
from .time_source import TimeSource
from .timer import Rate, Timer

_Log = message_class('rcl_interfaces/msg/Log')


class Node(NodeParameters, NodeGraph):
    """A node in the ROS graph: the place where publishers and the rest are made."""

    def __init__(
        self,
        node_name: str,
        *,
        context: Context | None = None,
        cli_args: list[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        start_parameter_services: bool = True,
        parameter_overrides: list[Parameter] | None = None,
        allow_undeclared_parameters: bool = False,
        automatically_declare_parameters_from_overrides: bool = False,
        enable_logger_service: bool = False,
    ) -> None:
        self._context = context or get_default_context()
        if not self._context.ok():
            raise NotInitializedException('cannot create node')
        local = arguments.parse(['--ros-args', *(cli_args or [])])
        shared = self._context.arguments if use_global_arguments else arguments.Arguments()
        self._remaps = local.remaps + shared.remaps
        self._name, self._namespace = self._named(node_name, namespace)
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._clients: list[Client] = []
        self._services: list[Service] = []
        self._timers: list[Timer] = []
        self._guards: list[GuardCondition] = []
        self._default_callback_group = MutuallyExclusiveCallbackGroup()
        self._rate_group = ReentrantCallbackGroup()
        self._clock_group = MutuallyExclusiveCallbackGroup()
        self._executor_ref: weakref.ref | None = None
        self._destroyed = False
        self._clock = ROSClock()
        self._logger = logging.RcutilsLogger(
            self.get_fully_qualified_name().strip('/').replace('/', '.')
        )
        self._participant = self._context.participant
        self._announced = self._participant.add_node(self._namespace, self._name)
        self._rosout = None
        if enable_rosout and shared.rosout and local.rosout:
            self._rosout = self.create_publisher(_Log, '/rosout', qos_profile_rosout_default)
            logging.set_handler(self._logger.name, self._log_to_rosout)
        full_name = self.get_fully_qualified_name()
        values = {**shared.parameters_for(full_name), **local.parameters_for(full_name)}
        overrides = {name: Parameter(name, value=value) for name, value in values.items()}
        overrides.update({p.name: p for p in parameter_overrides or []})
        self._init_parameters(overrides, allow_undeclared_parameters)
        self._parameter_event_publisher = self.create_publisher(
            message_class('rcl_interfaces/msg/ParameterEvent'), '/parameter_events',
            qos_profile_parameter_events,
        )
        if automatically_declare_parameters_from_overrides:
            for name, parameter in overrides.items():
                self.declare_parameter(name, parameter.value, ignore_override=True)
        self._time_source = TimeSource(node=self, clock=self._clock)
        if start_parameter_services:
            self._parameter_service = ParameterService(self)
        if enable_logger_service:
            self._logger_service = LoggingService(self)

    def _named(self, name: str, namespace: str | None) -> tuple[str, str]:
        name = self._remapped('name', name, name)
        namespace = self._remapped('namespace', name, namespace or '/')
        namespace = namespace if namespace.startswith('/') else f'/{namespace}'
        names.validate_node_name(name)
        names.validate_namespace(namespace)
        return name, namespace

    def _remapped(self, kind: str, node_name: str, default: str) -> str:
        rules = (r for r in self._remaps if r.kind == kind and r.node in ('', node_name))
        return next((rule.replacement for rule in rules), default)

    @property
    def publishers(self) -> Iterator[Publisher]:
        yield from self._publishers

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        yield from self._subscriptions

    @property
    def clients(self) -> Iterator[Client]:
        yield from self._clients

    @property
    def services(self) -> Iterator[Service]:
        yield from self._services

    @property
    def timers(self) -> Iterator[Timer]:
        yield from self._timers

    @property
    def guards(self) -> Iterator[GuardCondition]:
        yield from self._guards

    @property
    def context(self) -> Context:
        return self._context

    @property
    def handle(self) -> Node:
        return self

    @property
    def default_callback_group(self) -> MutuallyExclusiveCallbackGroup:
        return self._default_callback_group

    @property
    def executor(self):
        """The executor the node has been added to, or None."""
        return self._executor_ref() if self._executor_ref else None

    @executor.setter
    def executor(self, executor) -> None:
        current = self.executor
        if current is executor:
            return
        if current is not None:
            current.remove_node(self)
        self._executor_ref = weakref.ref(executor) if executor is not None else None
        if executor is not None:
            executor.add_node(self)

    def _executable(self) -> list:
        events = [h for e in (*self._subscriptions, *self._publishers) for h in e.event_handlers]
        return [
            *self._timers, *self._subscriptions, *self._guards, *self._clients, *self._services,
            *events,
        ]

    def _wake_executor(self) -> None:
        executor = self.executor
        if executor is not None:
            executor.wake()

    def get_name(self) -> str:
        return self._name

    def get_namespace(self) -> str:
        return self._namespace

    def get_fully_qualified_name(self) -> str:
        return names.fully_qualified(self._namespace, self._name)

    def get_clock(self) -> ROSClock:
        return self._clock

    def get_logger(self) -> logging.RcutilsLogger:
        return self._logger

    def _log_to_rosout(self, record: logging.Record) -> None:
        if self._destroyed or not self._context.ok():
            return
        sec, nanosec = divmod(record.stamp_ns, S_TO_NS)
        message = _Log(
            level=int(record.severity), name=record.name, msg=record.message, file=record.file,
            function=record.function, line=record.line,
        )
        message.stamp.sec, message.stamp.nanosec = sec, nanosec
        self._rosout.publish(message)

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """A topic name expanded and, unless `only_expand`, remapped."""
        remaps = [] if only_expand else self._remaps
        return names.resolve(topic, self._name, self._namespace, remaps, is_service=False)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        """A service name expanded and, unless `only_expand`, remapped."""
        remaps = [] if only_expand else self._remaps
        return names.resolve(service, self._name, self._namespace, remaps, is_service=True)

    def create_publisher(
        self,
        msg_type: type[Message],
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group=None,
        event_callbacks=None,
        qos_overriding_options=None,
        publisher_class: type[Publisher] = Publisher,
    ) -> Publisher:
        """A publisher; an int is the depth of an otherwise default profile."""
        _check_type(msg_type, '__fields__')
        return self._add(self._publishers, publisher_class(
            self, msg_type, self.resolve_topic_name(topic), self._profile(qos_profile),
            callback_group or self._default_callback_group, event_callbacks,
        ))

    def create_subscription(
        self,
        msg_type: type[Message],
        topic: str,
        callback: Callable,
        qos_profile: QoSProfile | int,
        *,
        callback_group=None,
        event_callbacks=None,
        qos_overriding_options=None,
        raw: bool = False,
    ) -> Subscription:
        """A subscription; with `raw` the callback gets the serialised bytes."""
        _check_type(msg_type, '__fields__')
        full = self.resolve_topic_name(topic)
        return self._add(self._subscriptions, Subscription(
            self, msg_type, full, callback, callback_group or self._default_callback_group,
            self._profile(qos_profile, topic=full), raw, event_callbacks,
        ))

    def create_client(
        self, srv_type: type, srv_name: str, *, qos_profile=None, callback_group=None
    ) -> Client:
        _check_type(srv_type, 'Request')
        return self._add(self._clients, Client(
            self, srv_type, self.resolve_service_name(srv_name),
            qos_profile or qos_profile_services_default,
            callback_group or self._default_callback_group,
        ))

    def create_service(
        self,
        srv_type: type,
        srv_name: str,
        callback: Callable,
        *,
        qos_profile=None,
        callback_group=None,
    ) -> Service:
        """A service; `callback(request, response)` returns the response."""
        _check_type(srv_type, 'Request')
        return self._add(self._services, Service(
            self, srv_type, self.resolve_service_name(srv_name), callback,
            callback_group or self._default_callback_group,
            qos_profile or qos_profile_services_default,
        ))

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable | None,
        callback_group=None,
        clock=None,
        autostart: bool = True,
    ) -> Timer:
        """A timer on the node's clock, or another one."""
        return self._add(self._timers, Timer(
            self, callback, callback_group or self._default_callback_group,
            int(float(timer_period_sec) * S_TO_NS), clock or self._clock, autostart,
        ))

    def create_guard_condition(self, callback: Callable, callback_group=None) -> GuardCondition:
        return self._add(self._guards, GuardCondition(
            self, callback, callback_group or self._default_callback_group
        ))

    def create_rate(self, frequency: float, clock=None) -> Rate:
        """A rate in Hz; its `sleep` needs the node to be spun by another thread."""
        if frequency <= 0:
            raise ValueError('frequency must be > 0')
        timer = self.create_timer(1.0 / frequency, None, self._rate_group, clock)
        return Rate(timer, context=self._context)

    def _add(self, entities: list, entity):
        entities.append(entity)
        self._wake_executor()
        return entity

    def _profile(self, qos: QoSProfile | int, topic: str | None = None) -> QoSProfile:
        if isinstance(qos, QoSProfile):
            if ReliabilityPolicy.BEST_AVAILABLE not in (qos.reliability, qos.durability):
                return qos
            return self._best_available(qos, topic)
        if isinstance(qos, int) and not isinstance(qos, bool):
            if qos < 0:
                raise ValueError('history depth must be greater than or equal to zero')
            return QoSProfile(depth=qos)
        raise TypeError(f'Expected QoSProfile or int, but received {type(qos)!r}')

    def _best_available(self, qos: QoSProfile, topic: str | None) -> QoSProfile:
        offers = [i.qos_profile for i in self._graph.endpoint_infos(topic, writers=True)] if (
            topic) else []
        reliable = all(o.reliability == ReliabilityPolicy.RELIABLE for o in offers)
        latched = all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers) and offers
        return QoSProfile(
            history=qos.history, depth=qos.depth,
            reliability=(
                ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            ),
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL
                if latched or topic is None
                else DurabilityPolicy.VOLATILE
            ),
        )

    def _destroy(self, entities: list, entity) -> bool:
        if entity not in entities:
            return False
        entities.remove(entity)
        entity.destroy()
        self._wake_executor()
        return True

    def destroy_publisher(self, publisher: Publisher) -> bool:
        return self._destroy(self._publishers, publisher)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        return self._destroy(self._subscriptions, subscription)

    def destroy_client(self, client: Client) -> bool:
        return self._destroy(self._clients, client)

    def destroy_service(self, service: Service) -> bool:
        return self._destroy(self._services, service)

    def destroy_timer(self, timer: Timer) -> bool:
        return self._destroy(self._timers, timer)

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        return self._destroy(self._guards, guard)

    def destroy_rate(self, rate: Rate) -> bool:
        rate.destroy()
        return self.destroy_timer(rate._timer)

    def destroy_node(self) -> None:
        """Take the node and all it made out of the graph."""
        if self._destroyed:
            return
        self._destroyed = True
        logging.set_handler(self._logger.name, None)
        if self.executor is not None:
            self.executor.remove_node(self)
        for entities in (
            self._timers, self._guards, self._services, self._clients, self._subscriptions,
            self._publishers,
        ):
            while entities:
                entities.pop().destroy()
        self._participant.remove_node(self._announced)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy_node()


def _check_type(kind: object, attribute: str) -> None:
    if not hasattr(kind, attribute) or not hasattr(kind, '__ros_name__'):
        what = 'message' if attribute == '__fields__' else 'service'
        raise TypeError(f'{kind!r} is not a {what} class')
