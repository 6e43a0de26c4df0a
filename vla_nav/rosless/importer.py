"""Serves `rclpy` and message packages to `import` where no ROS 2 is sourced."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType

# rclpy's module: the modules here whose public names it offers.
_MODULES = {
    'rclpy': ('api',),
    'rclpy.callback_groups': ('callback_groups',),
    'rclpy.client': ('client',),
    'rclpy.clock': ('clock', 'clock_type'),
    'rclpy.clock_type': ('clock_type',),
    'rclpy.constants': ('duration',),
    'rclpy.context': ('context',),
    'rclpy.duration': ('duration',),
    'rclpy.event_handler': ('event_handler',),
    'rclpy.exceptions': ('exceptions',),
    'rclpy.executors': ('executors',),
    'rclpy.expand_topic_name': ('names',),
    'rclpy.guard_condition': ('guard_condition',),
    'rclpy.lifecycle': ('lifecycle',),
    'rclpy.logging': ('logging',),
    'rclpy.logging_service': ('logging_service',),
    'rclpy.node': ('node', 'node_graph', 'exceptions'),
    'rclpy.parameter': ('parameter',),
    'rclpy.publisher': ('publisher',),
    'rclpy.qos': ('qos',),
    'rclpy.serialization': ('serialization',),
    'rclpy.service': ('service',),
    'rclpy.signals': ('signals',),
    'rclpy.subscription': ('subscription',),
    'rclpy.task': ('task',),
    'rclpy.time': ('time',),
    'rclpy.time_source': ('time_source',),
    'rclpy.timer': ('timer',),
    'rclpy.topic_endpoint_info': ('topic_endpoint_info',),
    'rclpy.utilities': ('utilities', 'context'),
    'rclpy.validate_full_topic_name': ('names',),
    'rclpy.validate_namespace': ('names',),
    'rclpy.validate_node_name': ('names',),
    'rclpy.validate_parameter_name': ('names',),
    'rclpy.validate_topic_name': ('names',),
    'rclpy.wait_for_message': ('wait_for_message',),
    'rosidl_runtime_py': ('conversion',),
    'rosidl_runtime_py.convert': ('conversion',),
    'rosidl_runtime_py.set_message': ('conversion',),
    'rosidl_runtime_py.utilities': ('conversion',),
    'rclpy._rclpy_pybind11': ('exceptions', 'node_graph'),
}
_HERE = __name__.rpartition('.')[0]


class PackageModule(ModuleType):
    """`rclpy` itself, whose submodules are imported when first used (`rclpy.time.Time()`)."""

    def __getattr__(self, name: str) -> ModuleType:
        if f'{self.__name__}.{name}' in _MODULES:
            return importlib.import_module(f'{self.__name__}.{name}')
        raise AttributeError(
            f"{self.__name__} of rosless has no '{name}': see vla_nav/rosless/README.md"
        )


class InterfaceModule(ModuleType):
    """A package's `msg` or `srv`, whose classes are made when first asked for."""

    def __getattr__(self, name: str) -> type:
        package, kind = self.__name__.split('.')
        if name.startswith('_'):
            raise AttributeError(name)
        messages = importlib.import_module(f'{_HERE}.messages')
        make = messages.service_class if kind == 'srv' else messages.message_class
        try:
            cls = make(f'{package}/{kind}/{name}')
        except ModuleNotFoundError as error:
            raise AttributeError(str(error)) from None
        setattr(self, name, cls)
        return cls

    def __dir__(self) -> list[str]:
        package, kind = self.__name__.split('.')
        store = importlib.import_module(f'{_HERE}.typestore').store()
        start = f'{package}/{kind}/'
        names = {n[len(start):] for n in store.fielddefs if n.startswith(start)}
        return sorted({n.removesuffix('_Request').removesuffix('_Response') for n in names})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands last in `sys.meta_path`, so that anything really installed is found before it."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname in _MODULES or self._is_interface(fullname):
            return importlib.machinery.ModuleSpec(
                fullname, self, origin='rosless', is_package='.' not in fullname
            )
        return None

    def _is_interface(self, fullname: str) -> bool:
        package, _, rest = fullname.partition('.')
        if rest not in ('', 'msg', 'srv'):
            return False
        # Imports that fail for other reasons must not load the type store, and may be its own.
        typestore = sys.modules.get(f'{_HERE}.typestore')
        if typestore is None and not package.endswith(('_msgs', '_interfaces', '_srvs')):
            return False
        if typestore is not None and not hasattr(typestore, 'store'):
            return False
        return importlib.import_module(f'{_HERE}.typestore').store().has_package(package)

    def create_module(self, spec):
        if spec.name.endswith(('.msg', '.srv')):
            return InterfaceModule(spec.name)
        return PackageModule(spec.name) if spec.name == 'rclpy' else ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = f'{module.__name__}, by rosless.'
        for source in _MODULES.get(module.__name__, ()):
            offered = vars(importlib.import_module(f'{_HERE}.{source}'))
            module.__dict__.update(
                {name: value for name, value in offered.items() if not name.startswith('_')}
            )


def install() -> None:
    """Make `import rclpy` find rosless, unless it finds something else."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
