"""Running a function of tensors as one CUDA graph, where that works."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

Feed = dict[str, torch.Tensor]
WARM_UPS = 3
"""Plain runs before the capture, in which libraries choose their kernels."""


_CAPTURING = threading.Lock()
"""CUDA records one graph at a time in a process."""


class Captured:
    """A function of named tensors of fixed shapes, its kernels launched all at once.

    Where the capture fails (no GPU, an operation that looks at values), the function is run
    plainly, and `reason` says why.
    """

    def __init__(self, function: Callable[[Feed], Feed], example: Feed):
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        self.reason: str | None = None
        try:
            self._capture({k: v.clone() for k, v in example.items()})
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            self._graph = None
            self.reason = ' '.join(str(error).split())[:200] or type(error).__name__

    @torch.inference_mode()
    def __call__(self, feed: Feed) -> Feed:
        """Compute; what is returned stays as it is when called again."""
        if self._graph is None:
            return self._function(feed)
        with torch.cuda.device(self._device):
            for name, buffer in self._inputs.items():
                buffer.copy_(feed[name], non_blocking=True)
            self._graph.replay()
            return {name: value.clone() for name, value in self._outputs.items()}

    @torch.inference_mode()
    def _capture(self, inputs: Feed) -> None:
        elsewhere = {str(v.device) for v in inputs.values() if v.device.type != 'cuda'}
        if elsewhere:  # such a graph would replay nothing
            raise RuntimeError(f'tensors on {", ".join(sorted(elsewhere))}: no GPU computes them')
        self._device = next(iter(inputs.values())).device
        with _CAPTURING, torch.cuda.device(self._device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    self._function(inputs)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads, such as that of the policy which still drives, go on using the GPU.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode='thread_local'):
                outputs = self._function(inputs)
        self._inputs, self._outputs, self._graph = inputs, outputs, graph
