"""Action chunks become safe velocity: execution, limits, watchdogs, state machine.

Nothing here knows ROS, owns a thread or reads a clock.
"""

from vla_nav.control.controller import USED_UP, Controller, Figures, Task
from vla_nav.control.executor import ChunkError, ChunkExecutor, check_chunk
from vla_nav.control.instruction import InstructionError, check_instruction
from vla_nav.control.limits import Limiter
from vla_nav.control.meters import Ticks
from vla_nav.control.path import predicted_path
from vla_nav.control.settings import ControlSettings, SettingsError
from vla_nav.control.state import Decision, State

__all__ = ['USED_UP', 'ChunkError', 'ChunkExecutor', 'ControlSettings', 'Controller', 'Decision',
           'Figures', 'InstructionError', 'Limiter', 'SettingsError', 'State', 'Task',
           'Ticks', 'check_chunk', 'check_instruction', 'predicted_path']
