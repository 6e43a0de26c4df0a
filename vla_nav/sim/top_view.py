"""A picture of a room from above with the way the robot took."""
import math
import os
from pathlib import Path

import numpy as np

from vla_nav.sim.scene import ROBOT_RADIUS_M, Scene
from vla_nav.sim.task import SUCCESS_RADIUS_M

_INK = '#222222'
_SIZE_IN, _DPI = 5.0, 120


def top_view(scene: Scene, path, title: str | None = None) -> np.ndarray:
    """The room with the path (n, 3) of poses, coloured from start (dark) to end (bright).

    Returns uint8 (H, W, 3) RGB; `title` defaults to the instruction.
    """
    figure = _figure(scene, path, title)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[:, :, :3].copy()


def save_top_view(file, scene: Scene, path, title: str | None = None) -> None:
    """Write the picture to `file`; its suffix (.png, .svg, .pdf) says in which format."""
    file = Path(file)
    temporary = file.with_name(f'.{file.name}')
    _figure(scene, path, title).savefig(temporary, dpi=_DPI,
                                        format=file.suffix.lstrip('.') or 'png')
    os.replace(temporary, file)


def _figure(scene, path, title):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, Rectangle

    path = np.atleast_2d(np.asarray(path, float))
    figure = Figure(figsize=(_SIZE_IN, _SIZE_IN * scene.room[1] / scene.room[0] + 0.4), dpi=_DPI,
                    layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    half_x, half_y = scene.room
    axes.add_patch(Rectangle((-half_x, -half_y), 2 * half_x, 2 * half_y, facecolor='#f4f2ee',
                             edgecolor=_INK, linewidth=2))
    goal = scene.target_object
    axes.add_patch(Circle((goal.x, goal.y), SUCCESS_RADIUS_M, fill=False, linestyle='--',
                          edgecolor=_INK))
    for thing in scene.objects:
        _draw_object(axes, thing)
    segments = np.stack([path[:-1, :2], path[1:, :2]], axis=1)
    line = LineCollection(segments, cmap='viridis', linewidths=2.5, capstyle='round')
    line.set_array(np.arange(len(segments)))
    axes.add_collection(line)
    _draw_robot(axes, path[0], '#3b1f5e')
    _draw_robot(axes, path[-1], '#c9a400')
    axes.set(xlim=(-half_x - 0.1, half_x + 0.1), ylim=(-half_y - 0.1, half_y + 0.1),
             xlabel='x (m)', ylabel='y (m)', aspect='equal')
    axes.set_title(scene.instruction if title is None else title, fontsize=11)
    return figure


def _draw_object(axes, thing):
    from matplotlib.patches import Circle, Rectangle
    from matplotlib.transforms import Affine2D
    style = {'facecolor': thing.rgb, 'edgecolor': _INK, 'linewidth': 1.0}
    half = thing.half_width_m
    if thing.shape == 'box':
        turned = Affine2D().rotate(thing.yaw).translate(thing.x, thing.y)
        axes.add_patch(Rectangle((-half, -half), 2 * half, 2 * half, **style,
                                 transform=turned + axes.transData))
    else:
        axes.add_patch(Circle((thing.x, thing.y), half, **style))
    axes.annotate(thing.name, (thing.x, thing.y - thing.radius_m), (0, -3), fontsize=8,
                  textcoords='offset points', ha='center', va='top', color=_INK)


def _draw_robot(axes, pose, colour):
    from matplotlib.patches import Circle
    x, y, yaw = pose
    axes.add_patch(Circle((x, y), ROBOT_RADIUS_M, fill=False, edgecolor=colour, linewidth=2))
    axes.plot([x, x + 1.5 * ROBOT_RADIUS_M * math.cos(yaw)],
              [y, y + 1.5 * ROBOT_RADIUS_M * math.sin(yaw)], color=colour, linewidth=2)
