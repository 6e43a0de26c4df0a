"""uint8 frames to the tensors a backbone's vision encoder takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
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

BAND = 12
"""Rows that are one product: with fewer there are more calls, with more, more zeros."""

BLOCK = 12
"""Bands that are in memory at a time, which a core's cache holds."""

Size = tuple[int, int]
Pass = tuple[int, Size, int]
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
        size[axis - 2] >= SMOOTHS * new for axis, size, new in passes[1:])]
    for left in (1, 0):  # to torch, of the passes
        ways += [(passes, max(0, len(passes) - left)) for passes in orders]
    for passes, exact in dict.fromkeys(ways):
        yield [*(_resize_exactly(*each, code) for each in passes[:exact]),
               *(_resize(*each, code) for each in passes[exact:]), *end]


def _passes(size: Size, route: Sequence[Size], axes: Sequence[int]) -> tuple[Pass, ...]:
    """Axis, size before and new length of each resizing of one axis, along a route of sizes.

    Pillow rounds between the axes. It has always begun with the columns (axis 3); since version
    13, where that saves work, with the rows (2).
    """
    passes = []
    for new in route:
        for axis in axes:
            if size[axis - 2] != new[axis - 2]:
                passes.append((axis, size, new[axis - 2]))
                size = (new[0], size[1]) if axis == 2 else (size[0], new[1])
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


def _resize(axis: int, size: Size, new: int, code: int) -> Step:
    """PIL's filter as torch has it: weights of 16 bits, so that a few pixels are off by one."""
    mode = MODES.get(code, 'none')
    size = (new, size[1]) if axis == 2 else (size[0], new)
    return lambda planes: functional.interpolate(planes, size, mode=mode, antialias=True)


def _resize_exactly(axis: int, size: Size, new: int, code: int) -> Step:
    """PIL's filter by its own weights."""
    rows = _Rows(size[axis - 2], new, 3 * size[3 - axis], code)

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
        bands = _bands(length, new, code)
        blocks = [bands[i:i + BLOCK] for i in range(0, len(bands), BLOCK)]
        self._blocks = [(_span(b.taken for b in block), _span(b.made for b in block))
                        for block in blocks]
        sizes = zip(*[(taken.stop - taken.start, made.stop - made.start)
                      for taken, made in self._blocks])
        self._rows, self._new = (torch.empty(max(size), width) for size in sizes)
        self._products = [
            [(self._new[_within(b.made, made)], b.weights, self._rows[_within(b.taken, taken)])
             for b in block] for block, (taken, made) in zip(blocks, self._blocks)]

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Resize uint8 (length, n, 3) to (new, n, 3)."""
        rows, done = torch.from_numpy(frame).flatten(1), np.empty(self._size, np.uint8)
        for (taken, made), products in zip(self._blocks, self._products):
            self._rows[_within(taken, taken)] = rows[taken]
            values = self._new[_within(made, made)].fill_(0.5)  # Pillow adds it and cuts off.
            for new, weights, old in products:
                new.addmm_(weights, old)
            done[made] = values.clamp_(0, 255).numpy()
        return done.reshape(len(done), -1, 3)


@dataclass(frozen=True)
class _Band:
    """Some of the new rows: `weights` (made, taken) times some of the old."""

    made: slice
    taken: slice
    weights: torch.Tensor


@lru_cache(maxsize=8)
def _bands(length: int, new: int, code: int) -> list[_Band]:
    """What each of `new` pixels takes of `length` others, `BAND` at a time.

    Weights are in steps of 2**-22, as Pillow has them for uint8; all others are zero.
    """
    each = Image.fromarray(np.eye(length, dtype=np.float32))
    weights = np.array(each.resize((length, new), code))
    weights = np.rint(weights * 2**22) / 2**22
    bands = []
    for row in range(0, new, BAND):
        band = weights[row:row + BAND]
        nonzero = np.flatnonzero(band.any(axis=0))
        taken = slice(int(nonzero[0]), int(nonzero[-1]) + 1)
        bands.append(_Band(slice(row, row + len(band)), taken,
                           torch.from_numpy(band[:, taken].copy())))
    return bands


def _span(slices: Iterable[slice]) -> slice:
    """From the first to the last that any of them has."""
    starts, stops = zip(*[(each.start, each.stop) for each in slices])
    return slice(min(starts), max(stops))


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _crop(whole: Size, size: Size) -> Step:
    top, left = (whole[0] - size[0]) // 2, (whole[1] - size[1]) // 2
    return lambda planes: planes[:, :, top:top + size[0], left:left + size[1]]
