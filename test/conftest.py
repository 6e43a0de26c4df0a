"""For all tests, before any message class is imported."""

import os
import signal

# Jazzy checks assigned fields only when asked to; rosless always does, as Humble.
os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'

# Shells start background jobs with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
