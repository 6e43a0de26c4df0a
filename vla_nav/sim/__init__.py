"""The simulated robot: scenes, tasks, pictures and a scripted expert. Knows neither ROS nor torch.

MuJoCo is imported when the first Renderer is made.
"""
from vla_nav.sim.base import Base, BaseSettings
from vla_nav.sim.disturbance import Disturbance
from vla_nav.sim.expert import Expert
from vla_nav.sim.renderer import Renderer, RenderingError, shared_renderer
from vla_nav.sim.sampling import sample_scene
from vla_nav.sim.scene import (
    ALL_PAIRS,
    COLOURS,
    LEVELS,
    ROBOT_RADIUS_M,
    SEEN_PAIRS,
    SHAPES,
    SPLITS,
    UNSEEN_PAIRS,
    Look,
    Scene,
    SceneObject,
    SimError,
)
from vla_nav.sim.simulation import Simulation, check_fields
from vla_nav.sim.task import HELD_OUT_TEMPLATES, TEMPLATES, Outcome

__all__ = [
    'ALL_PAIRS', 'COLOURS', 'HELD_OUT_TEMPLATES', 'LEVELS', 'ROBOT_RADIUS_M', 'SEEN_PAIRS',
    'SHAPES', 'SPLITS', 'TEMPLATES', 'UNSEEN_PAIRS', 'Base', 'BaseSettings', 'Disturbance',
    'Expert', 'Look', 'Outcome', 'Renderer', 'RenderingError', 'Scene', 'SceneObject', 'SimError',
    'Simulation', 'check_fields', 'sample_scene', 'shared_renderer',
]
