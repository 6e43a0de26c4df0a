"""Where an action chunk would take the robot."""

from __future__ import annotations

import numpy as np

from vla_nav.contract import ActionChunk


def predicted_path(chunk: ActionChunk, fields: tuple[str, str]) -> np.ndarray:
    """Integrate a chunk from the robot's pose at its frame.

    Returns float64 (K + 1, 3): x, y in m and yaw in rad, in base_link at the chunk's stamp
    (REP-103). Each step follows the arc of its constant velocities.
    """
    speeds = {'linear.x': 0.0, 'linear.y': 0.0, 'angular.z': 0.0}
    poses = np.zeros((len(chunk.actions) + 1, 3))
    for row, action in enumerate(chunk.actions.astype(float)):
        speeds[fields[0]], speeds[fields[1]] = action
        turn = speeds['angular.z'] * chunk.step_s
        # Chord of the arc: exact for constant velocity, and well defined for turn = 0.
        along = np.sinc(turn / (2.0 * np.pi)) * chunk.step_s
        x, y, yaw = poses[row]
        cos, sin = np.cos(yaw + turn / 2.0), np.sin(yaw + turn / 2.0)
        poses[row + 1] = (x + along * (speeds['linear.x'] * cos - speeds['linear.y'] * sin),
                          y + along * (speeds['linear.x'] * sin + speeds['linear.y'] * cos),
                          yaw + turn)
    return poses
