"""Short episodes of a robot that turns towards a drawn ball, as a dataset of real files."""

import dataclasses

import cv2
import numpy as np

from vla_nav.contract import Camera, Contract, Odometry
from vla_nav.episodes.bag import BagWriter
from vla_nav.episodes.dataset import DatasetSettings, build_dataset
from vla_nav.episodes.episode import AlignSettings
from vla_nav.episodes.lockstep import LockstepRecorder
from vla_nav.episodes.metadata import EpisodeMetadata, wall_time

CONTRACT = Contract(robot='drawn', rate_hz=10.0, odometry=Odometry(),
                    camera=Camera(width=64, height=64))
SECOND = 1_000_000_000
COLOURS = {'red': (200, 40, 30), 'blue': (30, 60, 210)}


def draw(place):
    """A ball at a place from -1 (left) to 1 (right): uint8 (64, 64, 3) RGB."""
    image = np.full((64, 64, 3), 120, np.uint8)
    cv2.circle(image, (round(32 + 24 * place), 36), 9, COLOURS['red'], -1)
    return image


def write_dataset(folder, episodes=6, steps=24, images='png', odometry=True):
    """Write bags and build a dataset of them; returns its folder."""
    contract = CONTRACT if odometry else dataclasses.replace(CONTRACT, odometry=None)
    for number in range(episodes):
        rng = np.random.default_rng(number)
        colour = list(COLOURS)[number % 2]
        text = f'go to the {colour} ball on the {"left" if number % 3 else "right"}'
        metadata = EpisodeMetadata(instruction=text, robot='drawn', outcome='success',
                                   contract=contract, started=wall_time())
        with BagWriter(folder / 'bags', f'bag_{number}', metadata) as writer:
            recorder = LockstepRecorder(writer, contract, text, SECOND)
            place = rng.uniform(-1, 1)
            for step in range(steps):
                stamp = SECOND + step * SECOND // 10
                action = np.array([0.1 + 0.3 * (1 - abs(place)), -0.9 * place])
                recorder.image(draw(place), stamp)
                if odometry:
                    recorder.odometry((0.0, 0.0, 0.0), tuple(0.8 * action), stamp)
                recorder.command(action, stamp)
                place = np.clip(place + rng.normal(0, 0.25), -1, 1)
    settings = DatasetSettings(align=AlignSettings(trim=False), images=images)
    return build_dataset([folder / 'bags'], folder / 'dataset', settings).root
