"""What a run leaves behind: a video, a map of the way, and figures."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

import cv2
import numpy as np

from vla_nav.errors import VlaNavError

VIDEO_HZ = 10
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LONGEST_VIDEO_S = 600


class RunFolder:
    """Collects while the robot drives, and writes when it is over."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VlaNavError(f'--out {folder}: {error.strerror}; give a folder that can be '
                              'written') from None
        self.folder = folder
        self.figures: dict = {}
        self._monitor = None
        self._started_s = time.monotonic()
        self._images: list[tuple[bytes, str, str, tuple[float, float]]] = []
        self._poses: list[list[float]] = []
        self._states: list[dict] = []
        self._told: list[str] = []
        self._rates: list[float] = []

    def add_image(self, image: np.ndarray) -> None:
        """Keep a camera image, uint8 (H, W, 3) RGB, with what was commanded."""
        monitor = self._monitor
        if monitor is None or len(self._images) >= _LONGEST_VIDEO_S * VIDEO_HZ:
            return
        _, jpeg = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)
        drive = monitor.drive or {}
        self._images.append((jpeg.tobytes(), drive.get('state', ''),
                             drive.get('instruction') or '', monitor.command))

    def add_moment(self, monitor) -> None:
        """Keep pose, state and rates of this moment."""
        self._monitor = monitor
        self._last = dict(monitor.outcome)
        self._poses.append(monitor.outcome['pose'])
        drive = monitor.drive
        if not self._states or self._states[-1]['state'] != drive['state']:
            self._states.append({'time_s': round(time.monotonic() - self._started_s, 2),
                                 'state': drive['state'], 'reason': drive['reason']})
        if drive['instruction'] and drive['instruction'] not in self._told[-1:]:
            self._told.append(drive['instruction'])
        rate = monitor.diagnostics.get('policy rate (Hz)')
        if rate and drive['state'] == 'DRIVING' and float(rate) > 0.0:
            self._rates.append(float(rate))

    def note(self, **figures: object) -> None:
        """Keep figures for run.json."""
        self.figures.update(figures)

    def save(self, **figures: object) -> list[Path]:
        """Write everything; returns the files."""
        last = getattr(self, '_last', {})
        diagnostics = self._monitor.diagnostics if self._monitor else {}
        self.figures = {
            'outcome': self.figures.get('outcome', 'not started'), **self.figures, **figures,
            **{name: last.get(name) for name in ('target', 'distance_m', 'elapsed_s', 'collided',
                                                 'real_time_factor')},
            'instructions': self._told,
            'instruction': self._told[-1] if self._told else None,
            'model_sha256': diagnostics.get('model sha256'),
            'policy_hz': round(float(np.median(self._rates)), 2) if self._rates else None,
            'latency_p50_s': _number(diagnostics.get('latency p50 (s)')),
            'latency_p99_s': _number(diagnostics.get('latency p99 (s)')),
            'largest_gap_between_commands_s': (
                round(self._monitor.largest_gap_s, 3) if self._monitor else None),
            'states': self._states,
            'machine': f'{platform.machine()}, {os.cpu_count()} cores, '
                       f'Python {platform.python_version()}',
            'time': time.strftime('%Y-%m-%dT%H:%M:%S%z')}
        files = [write_json(self.folder / 'run.json', self.figures)]
        if self._images:
            files.append(self._write_video())
        if self._poses and last.get('target'):
            files.append(self._write_map())
        return [file for file in files if file]

    def _write_video(self) -> Path | None:
        try:
            import av
        except ImportError:
            print("no video: PyAV is missing; pip install 'vla_nav[sim]'")
            return None
        file, temporary = self.folder / 'video.mp4', self.folder / '.video.mp4'
        with av.open(str(temporary), 'w', format='mp4') as container:
            stream = None
            for picture in map(_draw, self._images):
                if stream is None:
                    stream = container.add_stream('libx264', rate=VIDEO_HZ)
                    stream.height, stream.width = picture.shape[:2]
                    stream.pix_fmt, stream.options = 'yuv420p', {'crf': '26', 'preset': 'veryfast'}
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='bgr24')))
            container.mux(stream.encode(None))
        os.replace(temporary, file)
        return file

    def _write_map(self) -> Path | None:
        from vla_nav.sim import sample_scene
        from vla_nav.sim.top_view import save_top_view

        scene = sample_scene(self.figures['seed'], self.figures['level'])
        names = [thing.name for thing in scene.objects]
        scene = scene.with_target(names.index(self.figures['target']))
        file = self.folder / 'map.png'
        try:
            save_top_view(file, scene, np.array(self._poses),
                          f'{self.figures["instruction"]}: {self.figures["outcome"]}')
        except ImportError:
            print("no map: matplotlib is missing; pip install 'vla_nav[sim]'")
            return None
        return file


def write_json(file: Path, data: dict) -> Path:
    """Write plain data under a temporary name, then rename it; returns the file."""
    temporary = file.with_name(f'.{file.name}')
    temporary.write_text(json.dumps(data, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    os.replace(temporary, file)
    return file


def _number(text: str | None) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _draw(entry: tuple[bytes, str, str, tuple[float, float]]) -> np.ndarray:
    """A camera image with sentence, state and command on it, uint8 (H, W, 3) BGR, even sizes."""
    jpeg, state, instruction, (v0, v1) = entry
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    picture = picture[:picture.shape[0] // 2 * 2, :picture.shape[1] // 2 * 2].copy()
    rows, columns = picture.shape[:2]
    scale = columns / 640
    cv2.rectangle(picture, (0, 0), (columns, round(34 * scale)), (0, 0, 0), -1)
    _write(picture, f'{state}: {instruction}', (round(10 * scale), round(23 * scale)), scale)
    foot, centre = rows - round(14 * scale), columns // 2
    # The arrow shows where the command leads: its length is speed, its lean is turning.
    length, lean = v0 / 0.5 * 0.3 * rows, -v1 * 0.8
    tip = (round(centre + length * np.sin(lean)), round(foot - length * np.cos(lean)))
    cv2.arrowedLine(picture, (centre, foot), tip, (60, 220, 60), max(2, round(4 * scale)),
                    cv2.LINE_AA, tipLength=0.25)
    _write(picture, f'v {v0:+.2f} m/s  w {v1:+.2f} rad/s', (round(10 * scale), foot), scale)
    return picture


def _write(picture: np.ndarray, text: str, at: tuple[int, int], scale: float) -> None:
    plain = text.encode('ascii', 'replace').decode()
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, plain, at, _FONT, 0.55 * scale, colour, max(1, round(width * scale)),
                    cv2.LINE_AA)
