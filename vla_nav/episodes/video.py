"""MP4 files of frames: encoded, joined without re-encoding, and read at random."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vla_nav.episodes.errors import EpisodeError


@dataclass(frozen=True)
class VideoSettings:
    """How frames are compressed.

    Chroma is not subsampled: at the sizes that policies see, 4:2:0 alone costs more than
    38 dB PSNR leaves. The quantiser is constant, which keeps 38 dB even for white noise.
    """

    codec: str = 'libx264'
    pixel_format: str = 'yuv444p'
    qp: int = 15
    preset: str = 'veryfast'
    gop: int = 2
    """Frames from key frame to key frame: how many must be decoded to reach any one."""


def frame_rate(rate_hz: float) -> Fraction:
    """The rate as a fraction that a container can state exactly."""
    return Fraction(rate_hz).limit_denominator(1001)


class VideoEncoder:
    """Writes frames one by one into an MP4 file; use as a context manager."""

    def __init__(self, path: Path, width: int, height: int, rate_hz: float,
                 settings: VideoSettings | None = None) -> None:
        settings = settings or VideoSettings()
        self._container = av.open(str(path), 'w', format='mp4')
        options = {'qp': str(settings.qp), 'preset': settings.preset}
        self._stream = self._container.add_stream(settings.codec, frame_rate(rate_hz),
                                                  options=options)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = settings.pixel_format
        self._stream.gop_size = settings.gop
        self._stream.codec_context.max_b_frames = 0
        self._stream.codec_context.thread_count = 1

    def add(self, image: np.ndarray) -> None:
        """Append an image, uint8 (H, W, 3) RGB."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24')
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the file."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def __enter__(self) -> VideoEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def join_videos(parts: Sequence[Path], path: Path) -> None:
    """Write the parts, encoded alike, one after the other into one file without re-encoding."""
    with av.open(str(path), 'w', format='mp4') as output:
        target = None
        offset = 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                if target is None:
                    target = output.add_stream_from_template(stream)
                duration = stream.duration
                for packet in source.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = target
                    output.mux(packet)
                offset += duration


class VideoReader:
    """Decodes single frames of one file by their number, from the nearest key frame on."""

    def __init__(self, path: str | os.PathLike, rate_hz: float) -> None:
        """Open the file; raises EpisodeError if it is no readable video."""
        self.path = Path(path)
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except (av.FFmpegError, IndexError, OSError) as error:
            raise EpisodeError(f'{path} is not a readable video ({error}); build the dataset '
                               'again') from None
        self._stream.codec_context.thread_count = 1
        self._rate = frame_rate(rate_hz)
        self._upcoming = None
        self._next = -10**9

    def read(self, numbers: Iterable[int]) -> np.ndarray:
        """Return the frames of ascending numbers, uint8 (N, H, W, 3) RGB."""
        return np.stack([self._frame(int(number)) for number in numbers])

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _frame(self, number: int) -> np.ndarray:
        # Decoding on is cheaper than seeking when the frame is just ahead.
        if not 0 <= number - self._next <= 4:
            start = int(number / self._rate / self._stream.time_base)
            self._container.seek(start, stream=self._stream)
            self._upcoming = self._container.decode(self._stream)
        try:
            for frame in self._upcoming:
                at = round(frame.pts * self._stream.time_base * self._rate)
                if at >= number:
                    self._next = at + 1
                    return frame.to_ndarray(format='rgb24')
        except av.FFmpegError as error:
            raise EpisodeError(f'{self.path}: frame {number} cannot be decoded ({error}); build '
                               'the dataset again') from None
        raise EpisodeError(f'{self.path} ends before frame {number}; build the dataset again')


def psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal to noise ratio of two uint8 images, dB."""
    error = np.mean((first.astype(np.float64) - second) ** 2)
    return float('inf') if error == 0 else float(10 * np.log10(255 ** 2 / error))
