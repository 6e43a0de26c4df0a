"""uint8 frames to the tensors a backbone's vision encoder takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vla_nav.policy.errors import BackboneError

TOLERANCE = 1.0 / 255.0
"""How far the direct arithmetic may differ from the image processor's, in units of full scale."""


class ImageReader:
    """Runs an image processor on frames of one size, by the shortest way that gives its numbers.

    At construction a random frame goes through the processor. Where its result is
    `(x / 255 - mean) / std` of the untouched pixels, frames are from then on converted directly;
    otherwise (resize, crop, patches) the processor itself does every frame. All outputs except
    `pixel_values` (masks, grids) depend on the size alone and are computed once.
    """

    def __init__(self, processor, height: int, width: int):
        self.processor = processor
        self.size = (height, width)
        probe = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        outputs = self._process(probe)
        self._pixels_shape = outputs['pixel_values'].shape
        self.constants = {k: v for k, v in outputs.items() if k != 'pixel_values'}
        self._scale, self._shift = _affine(processor)
        self.direct = self._matches(probe, outputs['pixel_values'])

    def __call__(self, images: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Convert uint8 (H, W, 3) frames; the result's tensors are concatenated over frames."""
        for image in images:
            if image.dtype != np.uint8 or image.shape != (*self.size, 3):
                raise BackboneError(
                    f'image: found {image.dtype} {image.shape}, expected uint8 '
                    f'{(*self.size, 3)} (height, width, RGB)'
                )
        n = len(images)
        if self.direct:
            pixels = self._convert(np.stack(images)).reshape(-1, *self._pixels_shape[1:])
        else:
            pixels = torch.cat([self._process(image)['pixel_values'] for image in images])
        constants = {k: torch.cat([v] * n) if n > 1 else v for k, v in self.constants.items()}
        return {'pixel_values': pixels, **constants}

    def _process(self, image: np.ndarray) -> dict[str, torch.Tensor]:
        outputs = self.processor(images=[image], return_tensors='pt')
        if torch.is_tensor(outputs):  # Idefics returns bare pixels
            outputs = {'pixel_values': outputs}
        return {k: v for k, v in outputs.items() if torch.is_tensor(v)}

    def _convert(self, images: np.ndarray) -> torch.Tensor:
        # (B, H, W, 3) -> (B, 3, H, W)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32)
        return pixels.mul_(self._scale).add_(self._shift).contiguous()

    def _matches(self, probe: np.ndarray, pixels: torch.Tensor) -> bool:
        if pixels.shape[-3:] != (3, *self.size) or pixels.numel() != 3 * np.prod(self.size):
            return False
        error = (self._convert(probe[None]).view(pixels.shape) - pixels).abs().max()
        return bool(error <= TOLERANCE)


def _affine(processor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift per channel, (3, 1, 1), of a processor's rescale and normalise steps."""
    rescale = getattr(processor, 'rescale_factor', 1 / 255)
    factor = float(rescale) if getattr(processor, 'do_rescale', True) else 1.0
    mean, std = torch.zeros(3), torch.ones(3)
    if getattr(processor, 'do_normalize', True):
        mean = torch.as_tensor(getattr(processor, 'image_mean', mean), dtype=torch.float32)
        std = torch.as_tensor(getattr(processor, 'image_std', std), dtype=torch.float32)
    return (factor / std).view(3, 1, 1), (-mean / std).view(3, 1, 1)
