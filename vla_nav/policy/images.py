"""uint8 frames to the tensors a backbone's vision encoder takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from vla_nav.policy.errors import BackboneError

TOLERANCE = 1.0 / 255.0
"""How far our arithmetic may differ from the image processor's, in units of full scale."""
MODES = {1: 'lanczos', 2: 'bilinear', 3: 'bicubic'}
"""PIL's filters as torch names them."""

Size = tuple[int, int]
Step = Callable[[torch.Tensor], torch.Tensor]
Steps = list[Step]


class ImageReader:
    """Runs an image processor on frames of one size, by the shortest way that gives its numbers.

    The processor's steps (resize, crop, rescale, normalise, cut into patches) are done on uint8
    tensors, without PIL. At construction a random frame goes both ways; where the results differ
    by more than `TOLERANCE` (another kind of processor, a filter this torch does not have), the
    processor itself does every frame. All outputs except `pixel_values` (masks, grids) depend on
    the size alone and are computed once.
    """

    def __init__(self, processor, height: int, width: int):
        self.processor = processor
        self.size = (height, width)
        probe = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        outputs = self._process(probe)
        pixels = outputs['pixel_values']
        self._shape = pixels.shape
        self.constants = {k: v for k, v in outputs.items() if k != 'pixel_values'}
        self.scale, self.shift = _affine(processor)
        """Per channel, (3,): what is done to a uint8 value at last."""
        self._layout, self.final = _layout(processor, pixels, self.constants)
        """Size that frames are resized to (h, w); frames that have it are spared that."""
        self._steps: Steps = []
        ways = _ways(processor, self.size, self.final)
        self.converts = any(self._matches(steps, probe, pixels) for steps in ways)
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

    def _matches(self, steps: Steps, probe: np.ndarray, pixels: torch.Tensor) -> bool:
        self._steps = steps
        try:
            error = (self._convert([probe]) - pixels).abs().max()
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

    def patches(planes: torch.Tensor) -> torch.Tensor:
        """Qwen-VL's: groups of merge x merge patches, each as often as a video has frames."""
        x = planes.unflatten(3, (columns // merge, merge, side)).unflatten(
            2, (rows // merge, merge, side))  # (B, 3, R, m, p, C, m, p)
        x = x.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, 3, side * side)
        x = x.to(torch.float32).mul_(scale[:, None]).add_(shift[:, None])
        return x[:, :, None].expand(-1, -1, repeats, -1)

    return patches, (rows * side, columns * side)


def _planes(scale: torch.Tensor, shift: torch.Tensor, width: int) -> Step:
    scale, shift = scale.repeat(width), shift.repeat(width)

    def planes(planes: torch.Tensor) -> torch.Tensor:
        """Rescaled and normalised, in memory still (B, h, w, 3): one pass over long rows."""
        rows = planes.permute(0, 2, 3, 1).flatten(2).to(torch.float32)
        return torch.addcmul(shift, rows, scale).unflatten(2, (width, 3)).permute(0, 3, 1, 2)

    return planes


def _ways(processor, size: Size, final: Size) -> Iterator[Steps]:
    """Ways from frames of `size` to planes of `final`, the quickest first."""
    yield []
    code = int(getattr(processor, 'resample', None) or 0)
    whole = _resized(processor, size)
    crop = getattr(processor, 'do_center_crop', False)
    for resize in (_resize, _resize_by_pil):
        yield [resize(final, code)]
        if whole is not None:
            then = _crop(whole, final) if crop else resize(final, code)
            yield [then] if whole == size else [resize(whole, code), then]


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


def _resize(size: Size, code: int) -> Step:
    """PIL's filter as torch has it: weights of 16 bits, so that a few pixels are off by one."""
    mode = MODES.get(code, 'none')
    return lambda planes: functional.interpolate(planes, size, mode=mode, antialias=True)


def _resize_by_pil(size: Size, code: int) -> Step:
    def step(planes: torch.Tensor) -> torch.Tensor:
        frames = planes.permute(0, 2, 3, 1).contiguous().numpy()
        resized = [Image.fromarray(f).resize((size[1], size[0]), code) for f in frames]
        return torch.from_numpy(np.stack([np.asarray(r) for r in resized])).permute(0, 3, 1, 2)

    return step


def _crop(whole: Size, size: Size) -> Step:
    top, left = (whole[0] - size[0]) // 2, (whole[1] - size[1]) // 2
    return lambda planes: planes[:, :, top:top + size[0], left:left + size[1]]
