"""For all tests, before any message class is imported."""

import os

# Jazzy checks assigned fields only when asked to; rosless always does, as Humble.
os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
