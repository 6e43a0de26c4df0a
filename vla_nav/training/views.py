"""Labelled views of simulated scenes: what the nano VLM is pretrained on.

Views lie in shards (safetensors): the frame as the policy sees it, as JPEG, and what the
simulator knows of it. A shard that exists is not made again, so an interrupted run goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vla_nav.contract import Camera
from vla_nav.frames import prepare_image
from vla_nav.training.grounding import COLOUR_NAMES, SHAPE_NAMES
from vla_nav.workers import worker_pool

SHARD = 1000
POSES_PER_SCENE = 5
MAX_OBJECTS = 8
LEVELS = ('easy', 'standard', 'standard', 'standard')
CAMERA_SIZES = ((640, 480), (384, 288))
CAMERA_SHARES = (0.3, 0.7)
"""Small pictures are drawn faster, and cameras differ."""
SEGMENTATION_SIZE = (192, 144)
PATCH_PIXELS = 2
"""Of the 64 samples of a patch: fewer of an object do not make it the patch's label."""


@dataclass(frozen=True)
class Views:
    """N labelled views in memory; images stay compressed."""

    jpegs: list[np.ndarray]
    colour: np.ndarray
    """int8 (N, G, G): 1 + index of the colour of the object in each patch, 0 where none is."""
    shape: np.ndarray
    """int8 (N, G, G), likewise."""
    distance_m: np.ndarray
    """float16 (N, G, G): distance of that object, 0 where none is."""
    objects: np.ndarray
    """float32 (N, MAX_OBJECTS, 5): colour, shape, bearing (rad, + left), distance (m), share of
    the frame; -1 fills the rest."""

    def __len__(self) -> int:
        return len(self.jpegs)

    def image(self, index: int) -> np.ndarray:
        """Decode one view: uint8 (H, W, 3) RGB."""
        return cv2.cvtColor(cv2.imdecode(self.jpegs[index], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def make_views(folder: Path, camera: Camera, count: int, seed: int, grid: int, workers: int,
               progress: Callable[[int], None]) -> None:
    """Render `count` views into shards under `folder`; `progress(n)` is called as they arrive."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for shard in range(-(-count // SHARD)):
        size = min(SHARD, count - shard * SHARD)
        if _shard_path(folder, shard).exists():
            progress(size)
        else:
            missing.append((shard, size))
    if not missing:
        return
    with worker_pool(workers) as pool:
        jobs = {pool.submit(_make_shard, folder, camera, shard, size, seed, grid): size
                for shard, size in missing}
        for job in as_completed(jobs):
            job.result()
            progress(jobs[job])


def views_in(folder: Path) -> int:
    """How many views lie in a folder's shards."""
    from safetensors import safe_open
    total = 0
    for path in sorted(folder.glob('views_*.safetensors')):
        with safe_open(path, 'np') as file:
            total += file.get_slice('ends').get_shape()[0]
    return total


def load_views(folder: Path, count: int) -> Views:
    """Read the first `count` views."""
    from safetensors.numpy import load_file
    jpegs, rest = [], {name: [] for name in ('colour', 'shape', 'distance_m', 'objects')}
    for shard in range(-(-count // SHARD)):
        data = load_file(_shard_path(folder, shard))
        ends = data['ends']
        jpegs += np.split(data['jpeg'], ends[:-1])
        for name, parts in rest.items():
            parts.append(data[name])
    return Views(jpegs[:count],
                 **{name: np.concatenate(parts)[:count] for name, parts in rest.items()})


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f'views_{shard:05d}.safetensors'


def _make_shard(folder: Path, camera: Camera, shard: int, size: int, seed: int,
                grid: int) -> None:
    from safetensors.numpy import save_file

    from vla_nav.sim import ALL_PAIRS, Renderer, sample_scene
    cv2.setNumThreads(1)
    rng = np.random.default_rng((seed, shard))
    renderers = [Renderer(width, height) for width, height in CAMERA_SIZES]
    jpegs = []
    columns: dict[str, list] = {'colour': [], 'shape': [], 'distance_m': [], 'objects': []}
    while len(jpegs) < size:
        scene = sample_scene(int(rng.integers(1 << 62)), str(rng.choice(LEVELS)),
                             pairs=ALL_PAIRS)
        renderer = renderers[rng.choice(len(renderers), p=CAMERA_SHARES)]
        for _ in range(min(POSES_PER_SCENE, size - len(jpegs))):
            pose = sample_pose(scene, rng)
            image = prepare_image(renderer.render(scene, pose), camera)
            ok, jpeg = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            assert ok
            jpegs.append(jpeg.ravel())
            labels = label_view(renderer.segment(scene, pose, *SEGMENTATION_SIZE), scene, pose,
                                camera, grid)
            for name, value in zip(columns, labels):
                columns[name].append(value)
    data = {name: np.stack(values) for name, values in columns.items()}
    data['jpeg'] = np.concatenate(jpegs)
    data['ends'] = np.cumsum([len(jpeg) for jpeg in jpegs])
    temporary = _shard_path(folder, shard).with_suffix('.tmp')
    save_file(data, temporary)
    temporary.replace(_shard_path(folder, shard))


def sample_pose(scene, rng: np.random.Generator) -> tuple[float, float, float]:
    """A pose (x, y, yaw) such as a robot has that searches for things and drives up to them."""
    while True:
        if rng.random() < 0.75:
            thing = scene.objects[rng.integers(len(scene.objects))]
            distance = math.exp(rng.uniform(math.log(0.42), math.log(6.0)))
            angle = rng.uniform(-math.pi, math.pi)
            x, y = thing.x + distance * math.cos(angle), thing.y + distance * math.sin(angle)
            yaw = angle + math.pi + rng.uniform(-1, 1) * math.radians(50)
        else:
            x, y = (rng.uniform(-half, half) for half in scene.room)
            yaw = rng.uniform(-math.pi, math.pi)
        inside = abs(x) < scene.room[0] and abs(y) < scene.room[1]
        if inside and scene.clearance_m(x, y) > 0.19:
            return x, y, yaw


def label_view(segmentation: np.ndarray, scene, pose, camera: Camera, grid: int) -> tuple:
    """What is where in a view: colour, shape and distance of each patch, and the objects.

    `segmentation` is int8 (rows, columns) of the whole camera image; negative is no object.
    """
    left, top, right, bottom = camera.crop
    rows, columns = segmentation.shape
    seen = segmentation[round(top * rows):round(bottom * rows),
                        round(left * columns):round(right * columns)]
    size = 8 * grid
    fine = cv2.resize(seen, (size, size), interpolation=cv2.INTER_NEAREST)
    # (G, 8, G, 8) -> (G, G, 64)
    patches = fine.reshape(grid, 8, grid, 8).transpose(0, 2, 1, 3).reshape(grid, grid, 64)
    colour, shape = np.zeros((2, grid, grid), np.int8)
    distance = np.zeros((grid, grid), np.float16)
    most = np.full((grid, grid), PATCH_PIXELS - 1)
    objects = np.full((MAX_OBJECTS, 5), -1, np.float32)
    x, y, yaw = pose
    found = 0
    for index, thing in enumerate(scene.objects):
        share = float((seen == index).mean())
        if share == 0.0:
            continue
        away = math.hypot(thing.x - x, thing.y - y)
        bearing = math.remainder(math.atan2(thing.y - y, thing.x - x) - yaw, 2 * math.pi)
        kind = COLOUR_NAMES.index(thing.colour), SHAPE_NAMES.index(thing.shape)
        count = (patches == index).sum(-1)
        here = count > most
        most[here] = count[here]
        colour[here], shape[here], distance[here] = kind[0] + 1, kind[1] + 1, away
        objects[found] = (*kind, bearing, away, share)
        found += 1
    return colour, shape, distance, objects
