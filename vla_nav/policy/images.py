"""uint8 frames to the tensors a backbone's vision encoder takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from vla_nav.policy.errors import BackboneError

TOLERANCE = 1.0 / 255.0
"""How far our arithmetic may differ from the image processor's, in units of full scale."""
PROBES = 3
"""Random frames that show whether it does."""
MODES = {1: 'lanczos', 2: 'bilinear', 3: 'bicubic'}
"""PIL's filters as torch names them."""

SMOOTHS = 1.5
"""An image made so many times smaller takes too little of each pixel for one level to show."""

BAND = 8
"""Rows that are one product: with fewer there are more of them, with more, more zeros."""

BLOCK = 18
"""Bands that are made at a time: their rows fit into a core's cache."""

Size = tuple[int, int]
Pass = tuple[int, Size, Size]
Step = Callable[[torch.Tensor], torch.Tensor]
Steps = list[Step]


class ImageReader:
    """Runs an image processor on frames of one size, by the shortest way that gives its numbers.

    The processor's steps (resize, crop, rescale, normalise, cut into patches) are done on uint8
    tensors, without PIL. At construction random frames go both ways; where the results differ by
    more than `TOLERANCE` (another kind of processor), the processor itself does every frame. All
    outputs except `pixel_values` (masks, grids) depend on the size alone and are computed once.
    """

    def __init__(self, processor, height: int, width: int):
        self.processor = processor
        self.size = (height, width)
        shape = PROBES, height, width, 3
        probes = list(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
        outputs, *others = map(self._process, probes)
        pixels = outputs['pixel_values']
        self._shape = pixels.shape
        self.constants = {k: v for k, v in outputs.items() if k != 'pixel_values'}
        self.scale, self.shift = _affine(processor)
        """Per channel, (3,): what is done to a uint8 value at last."""
        self._layout, self.final = _layout(processor, pixels, self.constants)
        """Size that frames are resized to (h, w); frames that have it are spared that."""
        self._steps: Steps = []
        expected = torch.cat([pixels, *(each['pixel_values'] for each in others)])
        ways = _ways(processor, self.size, self.final)
        self.converts = any(self._matches(steps, probes, expected) for steps in ways)
        """Whether frames are converted here, and not by the processor."""
        self.direct = self.converts and not self._steps and pixels.ndim > 2
        """Whether all there is to do is `x * scale + shift`, planes first."""

    def __call__(self, images: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Convert uint8 (H, W, 3) frames; the result's tensors are concatenated over frames."""
        for image in images:
            self.check(image)
        n = len(images)
        if self.converts:
            pixels = self._convert(images)
        else:
            pixels = torch.cat([self._process(image)['pixel_values'] for image in images])
        constants = {k: torch.cat([v] * n) if n > 1 else v for k, v in self.constants.items()}
        return {'pixel_values': pixels, **constants}

    def check(self, image: np.ndarray) -> None:
        """Raise BackboneError for anything but a uint8 frame of this size."""
        if image.dtype != np.uint8 or image.shape != (*self.size, 3):
            raise BackboneError(
                f'image: found {image.dtype} {image.shape}, expected uint8 '
                f'{(*self.size, 3)} (height, width, RGB)'
            )

    def _process(self, image: np.ndarray) -> dict[str, torch.Tensor]:
        outputs = self.processor(images=[image], return_tensors='pt')
        if torch.is_tensor(outputs):  # Idefics returns bare pixels
            outputs = {'pixel_values': outputs}
        return {k: v for k, v in outputs.items() if torch.is_tensor(v)}

    def _convert(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        frames = torch.from_numpy(images[0])[None] if len(images) == 1 else torch.from_numpy(
            np.stack(images))
        planes = frames.permute(0, 3, 1, 2)  # (B, 3, H, W), in memory still (B, H, W, 3)
        for step in self._steps:
            planes = step(planes)
        return self._layout(planes).reshape(-1, *self._shape[1:])

    def _matches(self, steps: Steps, probes: Sequence[np.ndarray], expected: torch.Tensor) -> bool:
        self._steps = steps
        try:
            error = (self._convert(probes) - expected).abs().max()
        except (RuntimeError, ValueError):  # a filter or a size that torch refuses
            return False
        return bool(error <= (TOLERANCE + 1e-5) * 255 * self.scale.max())


def _affine(processor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift per channel, (3,), of a processor's rescale and normalise steps."""
    rescale = getattr(processor, 'rescale_factor', 1 / 255)
    factor = float(rescale) if getattr(processor, 'do_rescale', True) else 1.0
    mean, std = torch.zeros(3), torch.ones(3)
    if getattr(processor, 'do_normalize', True):
        mean = torch.as_tensor(getattr(processor, 'image_mean', mean), dtype=torch.float32)
        std = torch.as_tensor(getattr(processor, 'image_std', std), dtype=torch.float32)
    return (factor / std).expand(3), (-mean / std).expand(3)


def _layout(processor, pixels: torch.Tensor, constants: dict) -> tuple[Step, Size]:
    """How uint8 planes (B, 3, h, w) become pixel values, and their size (h, w)."""
    scale, shift = _affine(processor)
    if pixels.ndim != 2 or 'image_grid_thw' not in constants:
        height, width = pixels.shape[-2:]
        return _planes(scale, shift, width), (height, width)
    _, rows, columns = constants['image_grid_thw'][0].tolist()
    side, merge, repeats = (
        getattr(processor, name) for name in ('patch_size', 'merge_size', 'temporal_patch_size'))

    down, across = rows // merge, columns // merge
    line = np.dtype((np.void, side))  # of a patch, copied as a whole
    scale, shift = (each.repeat_interleave(repeats * side * side) for each in (scale, shift))

    def patches(planes: torch.Tensor) -> torch.Tensor:
        """Qwen-VL's: groups of merge x merge patches, each as often as a video has frames."""
        frames = planes.permute(0, 2, 3, 1).numpy()
        split = list(np.empty((3, rows * side, columns * side), np.uint8))
        lines = np.empty((len(frames), down, across, merge, merge, 3, side), line)
        for frame, cut in zip(frames, lines):
            for channel, plane in enumerate(cv2.split(frame, split)):
                cut[:, :, :, :, channel] = plane.view(line).reshape(
                    down, merge, side, across, merge).transpose(0, 3, 1, 4, 2)
        x = torch.from_numpy(lines.view(np.uint8)).reshape(-1, 3, 1, side * side)
        pixels = torch.empty(len(x), 3, repeats, side * side).copy_(x).flatten(1)
        return torch.addcmul(shift, pixels, scale, out=pixels)

    return patches, (rows * side, columns * side)


def _planes(scale: torch.Tensor, shift: torch.Tensor, width: int) -> Step:
    scale, shift = scale.repeat(width), shift.repeat(width)

    def planes(planes: torch.Tensor) -> torch.Tensor:
        """Rescaled and normalised, in memory still (B, h, w, 3): one pass over long rows."""
        rows = planes.permute(0, 2, 3, 1).flatten(2).to(torch.float32)
        torch.addcmul(shift, rows, scale, out=rows)
        return rows.unflatten(2, (width, 3)).permute(0, 3, 1, 2)

    return planes


def _ways(processor, size: Size, final: Size) -> Iterator[Steps]:
    """Ways from frames of `size` to planes of `final`, the quickest first."""
    yield []
    code = int(getattr(processor, 'resample', None) or 0)
    whole = _resized(processor, size)
    crop = whole is not None and getattr(processor, 'do_center_crop', False)
    end = [_crop(whole, final)] if crop else []
    routes = [[final]] if whole is None else [[whole]] if crop else [[final], [whole, final]]
    orders = [_passes(size, route, axes) for axes in ((3, 2), (2, 3)) for route in routes]
    ways = [(passes, 0) for passes in orders if all(
        size[axis - 2] >= SMOOTHS * new[axis - 2] for axis, size, new in passes[1:])]
    for left in (1, 0):  # to torch, of the passes
        ways += [(passes, max(0, len(passes) - left)) for passes in orders]
    for passes, exact in dict.fromkeys(ways):
        yield [*(_resize_exactly(*each, code) for each in passes[:exact]),
               *(_resize(*each, code) for each in passes[exact:]), *end]


def _passes(size: Size, route: Sequence[Size], axes: Sequence[int]) -> tuple[Pass, ...]:
    """Axis, size before and size after of each resizing of one axis, along a route of sizes.

    Pillow rounds between the axes. It has always begun with the columns (axis 3); since version
    13, where that saves work, with the rows (2).
    """
    passes = []
    for end in route:
        for axis in axes:
            new = (end[0], size[1]) if axis == 2 else (size[0], end[1])
            if new != size:
                passes.append((axis, size, new))
            size = new
    return tuple(passes)


def _resized(processor, size: Size) -> Size | None:
    """The size a processor first resizes to, by its own reckoning; None if it cannot be asked."""
    from transformers.image_utils import SizeDict

    blank = np.zeros((3, *size), np.uint8)
    try:
        wanted = processor.size
        wanted = wanted if isinstance(wanted, SizeDict) else SizeDict(**wanted)
        return tuple(processor.resize(blank, wanted, resample=processor.resample).shape[-2:])
    except (AttributeError, TypeError, ValueError):
        return None


def _resize(axis: int, size: Size, new: Size, code: int) -> Step:
    """PIL's filter as torch has it: weights of 16 bits, so that a few pixels are off by one."""
    mode = MODES.get(code, 'none')
    return lambda planes: functional.interpolate(planes, new, mode=mode, antialias=True)


def _resize_exactly(axis: int, size: Size, new: Size, code: int) -> Step:
    """PIL's filter by its own weights."""
    rows = _Rows(size[axis - 2], new[axis - 2], 3 * size[3 - axis], code)

    def step(planes: torch.Tensor) -> torch.Tensor:
        frames = planes.permute(0, 2, 3, 1).contiguous().numpy()
        if axis == 2:
            done = [rows(frame) for frame in frames]
        else:
            done = [cv2.transpose(rows(cv2.transpose(frame))) for frame in frames]
        whole = np.stack(done) if len(done) > 1 else done[0].reshape(1, *done[0].shape)
        return torch.from_numpy(whole).permute(0, 3, 1, 2)

    return step


class _Rows(threading.local):
    """Makes `new` rows of `length` rows of `width` values; every thread has its own memory."""

    @torch.inference_mode(False)  # else it could be written in inference mode only
    def __init__(self, length: int, new: int, width: int, code: int):
        self._size = (new, width)
        self._blocks = _blocks(length, new, code)
        # Zeros: what no row was written to has weights of zero, and must still be a number.
        self._old = torch.zeros(max(block.length for block in self._blocks), width)
        self._new = torch.empty(BLOCK, BAND, width)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Resize uint8 (length, n, 3) to (new, n, 3)."""
        rows, done = torch.from_numpy(frame).flatten(1), np.empty(self._size, np.uint8)
        _, width = self._size
        for block in self._blocks:
            bands, _, taken = block.weights.shape
            self._old[block.place] = rows[block.taken]
            old = self._old.as_strided((bands, taken, width), (block.stride * width, width, 1))
            values = self._new[:bands].fill_(0.5)  # Pillow adds it and cuts off.
            values.baddbmm_(block.weights, old).clamp_(0, 255)
            made = done[block.made]
            made[:] = values.flatten(0, 1)[:len(made)].numpy()
        return done.reshape(len(done), -1, 3)


@dataclass(frozen=True)
class _Block:
    """Some of the new rows: bands of them, each of old rows that begin `stride` further on."""

    made: slice
    taken: slice
    place: slice
    """Of the rows taken, in memory."""
    stride: int
    weights: torch.Tensor
    """(bands, BAND, rows of memory that a band takes of)."""

    @property
    def length(self) -> int:
        """Rows of memory."""
        bands, _, taken = self.weights.shape
        return self.stride * (bands - 1) + taken


@lru_cache(maxsize=8)
def _blocks(length: int, new: int, code: int) -> list[_Block]:
    """What each of `new` pixels takes of `length` others.

    Weights are in steps of 2**-22, as Pillow has them for uint8; all others are zero.
    """
    each = Image.fromarray(np.eye(length, dtype=np.float32))
    weights = np.array(each.resize((length, new), code))
    weights = np.rint(weights * 2**22) / 2**22
    rows = range(0, new, BAND)
    return [_block(weights, rows[i:i + BLOCK]) for i in range(0, len(rows), BLOCK)]


def _block(weights: np.ndarray, rows: Sequence[int]) -> _Block:
    """Pack the weights (new, length) of the bands that begin at `rows`."""
    bands = [weights[row:row + BAND] for row in rows]
    nonzero = [np.flatnonzero(band.any(axis=0)) for band in bands]
    firsts, lasts = (np.array([each[end] for each in nonzero]) for end in (0, -1))
    stride = round((firsts[-1] - firsts[0]) / max(1, len(bands) - 1))
    steps = stride * np.arange(len(bands))
    begin, end = int((firsts - steps).min()), int((lasts - steps).max()) + 1
    packed = np.zeros((len(bands), BAND, end - begin), np.float32)
    for band, first, last, step, pack in zip(bands, firsts, lasts, steps, packed):
        place = slice(first - step - begin, last + 1 - step - begin)
        pack[:len(band), place] = band[:, first:last + 1]
    taken = slice(max(0, begin), min(weights.shape[1], end + int(steps[-1])))
    return _Block(slice(rows[0], rows[-1] + BAND), taken,
                  slice(taken.start - begin, taken.stop - begin), stride, torch.from_numpy(packed))


def _crop(whole: Size, size: Size) -> Step:
    top, left = (whole[0] - size[0]) // 2, (whole[1] - size[1]) // 2
    return lambda planes: planes[:, :, top:top + size[0], left:left + size[1]]
