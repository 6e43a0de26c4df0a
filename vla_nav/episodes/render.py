"""Pictures of an episode: frames with the command drawn on, and both speeds over time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vla_nav.contract import Command, Contract
from vla_nav.episodes.dataset import INFO_PATH
from vla_nav.episodes.episode import AlignSettings, Recording, frames, with_frames
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.video import VideoEncoder, VideoSettings
from vla_nav.episodes.windows import EpisodeDataset

PLAYABLE = VideoSettings(pixel_format='yuv420p', qp=24, gop=10)
"""For players and browsers, which do not all know full chroma."""
SIZE = 480
PLOT_HEIGHT = 120
WHITE, GREY, DARK = (255, 255, 255), (170, 170, 170), (24, 28, 34)
COLOURS = ((90, 160, 230), (240, 130, 60))
HUMAN = (235, 70, 70)


@dataclass(frozen=True)
class Shown:
    """One episode, ready to be looked at."""

    name: str
    contract: Contract
    images: np.ndarray
    """uint8 (N, H, W, 3) RGB."""
    actions: np.ndarray
    """float32 (N, 2), SI units."""
    intervention: np.ndarray
    """bool (N,)."""
    instructions: tuple[str, ...]
    outcome: str

    def __len__(self) -> int:
        return len(self.actions)


def load_episode(path: str | os.PathLike, episode: int = 0, contract: Contract | None = None
                 ) -> Shown:
    """Read an episode of a dataset, or of a bag as the dataset builder would take it, untrimmed.

    Raises EpisodeError if there is no such episode.
    """
    path = Path(path)
    if not path.exists():
        raise EpisodeError(f'{path} does not exist; give a bag or a dataset')
    if (path / INFO_PATH).exists():
        return _from_dataset(EpisodeDataset(path), episode)
    with BagReader(path, contract) as bag:
        return with_frames(bag, AlignSettings(trim=False, instruction='(no instruction)'),
                           lambda recording: _from_bag(bag, recording, episode))


def draw(shown: Shown) -> Iterator[np.ndarray]:
    """Yield each row as a picture, uint8 (SIZE + PLOT_HEIGHT, width, 3) RGB."""
    height, width = shown.images.shape[1:3]
    columns = 2 * round(SIZE * width / height / 2)
    plot = _plot(shown, columns)
    for row, image in enumerate(shown.images):
        picture = cv2.resize(image, (columns, SIZE), interpolation=cv2.INTER_CUBIC)
        _draw_command(picture, shown.contract.command, shown.actions[row],
                      bool(shown.intervention[row]))
        _write(picture, shown.instructions[row], (12, 28))
        seconds = row * shown.contract.step_s
        _write(picture, f'{seconds:.1f} s   {shown.outcome}', (12, 54), GREY)
        strip = plot.copy()
        x = round(row / max(1, len(shown) - 1) * (columns - 1))
        cv2.line(strip, (x, 0), (x, PLOT_HEIGHT), WHITE, 1)
        yield np.vstack([picture, strip])


def write_video(shown: Shown, path: Path) -> None:
    """Write the pictures as an MP4 file that any player shows."""
    encoder = None
    temporary = path.with_name(f'.{path.name}.tmp')
    for picture in draw(shown):
        if encoder is None:
            encoder = VideoEncoder(temporary, picture.shape[1], picture.shape[0],
                                   shown.contract.rate_hz, PLAYABLE)
        encoder.add(picture)
    encoder.close()
    temporary.replace(path)


def _from_bag(bag: BagReader, recording: Recording, episode: int) -> Shown:
    if not 0 <= episode < len(recording.episodes):
        raise EpisodeError(f'there is no episode {episode}: {bag.path} has '
                           f'{len(recording.episodes)}, counted from 0')
    chosen = recording.episodes[episode]
    images = [image for number, _, image, _ in frames(bag, recording) if number == episode]
    return Shown(bag.path.name, bag.contract, np.stack(images), chosen.actions,
                 chosen.intervention, chosen.instructions, bag.metadata.outcome)


def _from_dataset(dataset: EpisodeDataset, episode: int) -> Shown:
    if not 0 <= episode < len(dataset):
        raise EpisodeError(f'there is no episode {episode}: {dataset.root} has {len(dataset)}, '
                           'counted from 0')
    entry = dataset.episodes[episode]
    window = dataset.window(episode, 0, entry.length)
    return Shown(f'{dataset.root.name} {episode}', dataset.contract, window.images,
                 window.actions, window.intervention, window.instructions, entry.outcome)


def _draw_command(picture: np.ndarray, command: Command, action: np.ndarray, human: bool
                  ) -> None:
    """An arrow from the bottom: its length is the first field, its lean the second."""
    height, width = picture.shape[:2]
    forward, turn = (value / max(abs(low), high) for value, low, high in
                     zip(action, command.low, command.high))
    start = np.array([width / 2, height - 16])
    angle = turn * math.pi / 3
    length = 0.45 * height * abs(forward)
    tip = start + length * np.array([-math.sin(angle), -math.cos(angle) * np.sign(forward or 1)])
    colour = HUMAN if human else COLOURS[0]
    cv2.ellipse(picture, tuple(map(int, start)), (70, 70), 0, -90, -90 - math.degrees(angle),
                COLOURS[1], 6, cv2.LINE_AA)
    if length > 2:
        cv2.arrowedLine(picture, tuple(map(int, start)), tuple(map(int, tip)), colour, 5,
                        cv2.LINE_AA, tipLength=0.2)
    text = '   '.join(f'{field} {value:+.2f} {unit}' for field, value, unit in
                      zip(command.fields, action, command.units))
    _write(picture, text + ('   human' if human else ''), (12, height - 14))


def _plot(shown: Shown, columns: int) -> np.ndarray:
    strip = np.full((PLOT_HEIGHT, columns, 3), DARK, np.uint8)
    command = shown.contract.command
    x = np.linspace(0, columns - 1, len(shown))
    for first, last in _spans(shown.intervention):
        strip[:, int(x[first]):int(x[last]) + 1] = (64, 30, 34)
    for column, (low, high, colour) in enumerate(zip(command.low, command.high, COLOURS)):
        share = (np.clip(shown.actions[:, column], low, high) - low) / (high - low)
        y = PLOT_HEIGHT - 22 - share * (PLOT_HEIGHT - 32)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(strip, [points], False, colour, 2, cv2.LINE_AA)
        _write(strip, f'{command.fields[column]} ({low:g} to {high:g} {command.units[column]})',
               (12 + column * columns // 2, PLOT_HEIGHT - 6), colour, 0.45)
    return strip


def _spans(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2])]


def _write(picture: np.ndarray, text: str, at: tuple[int, int], colour=WHITE,
           scale: float = 0.6) -> None:
    for ink, thickness in ((DARK, 4), (colour, 1)):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness,
                    cv2.LINE_AA)
