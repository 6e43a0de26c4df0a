"""rosless: the part of rclpy that ordinary nodes use, over Cyclone DDS, without a ROS 2.

    from vla_nav import rosless
    rosless.ensure()
    import rclpy
    from sensor_msgs.msg import Image

A sourced ROS 2 always wins: then `ensure` does nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

__all__ = ['ensure', 'is_native']


def is_native() -> bool:
    """Whether `import rclpy` gives that of a ROS 2 installation."""
    loaded = sys.modules.get('rclpy')
    spec = loaded.__spec__ if loaded else importlib.util.find_spec('rclpy')
    return spec is not None and spec.origin != 'rosless'


def ensure() -> bool:
    """Make `import rclpy` and message packages work; True if they are a real ROS 2's.

    Raises:
        ImportError: neither ROS 2 nor the two packages rosless stands on are there, or a ROS 2
            is sourced that is for another Python.
    """
    if is_native():
        try:
            importlib.import_module('rclpy')
        except ImportError as error:
            raise ImportError(
                f'a ROS 2 is sourced, but Python {sys.version_info[0]}.{sys.version_info[1]} '
                f'({sys.executable}) cannot import its rclpy: {error}. Use the Python that this '
                'ROS 2 was built for, or a terminal in which none is sourced', name='rclpy',
            ) from error
        return True
    for package in ('cyclonedds', 'rosbags'):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"no ROS 2 is sourced, and rosless needs the package '{package}': source one"
                f' (source /opt/ros/jazzy/setup.bash) or pip install {package}', name=package,
            )
    from . import importer

    importer.install()
    return False
