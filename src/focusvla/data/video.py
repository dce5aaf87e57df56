"""Videos: H.264 encoded per episode and camera and joined without re-encoding; any codec decoded frame by frame.

A frame is found by the time at which it is shown, never by counting: files begin late, have holes or other rates, and
seeking leads to some key frame near the one that was asked for.
"""

import functools
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Int64

from focusvla.errors import DataError
from focusvla_client import Camera

DATA_QUALITY = 5
"""Constant rate factor of data sets. At 18, the usual value, the codec's own error moves a small picture's encoder
features by half of what an episode does (docs/log.md), and policies are trained on the codec's pictures but act on the
camera's."""
_ENCODER_OPTIONS = {
    "preset": "fast",
    "g": "8",  # a key frame every 8 frames: a random frame costs at most 8 decodings
    "bf": "0",  # no frame refers to a later one, so packets are in display order and joined by counting
}


_LARGEST_SHIFT = 0.499
"""Of a period: how far a frame may be shown from its row's time. At a half, two frames would be as near."""
_LARGEST_SURPLUS = 4
"""Of a camera's pixels: larger pictures are not decoded, so that a damaged header takes no memory."""


def exact_rate(rate_hz: float) -> Fraction:
    """The frame rate as the fraction that a video container stores."""
    return Fraction(rate_hz).limit_denominator(1001)  # as 30000 / 1001 has


def encode_video(
    path: Path, frames: Iterable[np.ndarray], camera: Camera, rate_hz: float, quality: int = DATA_QUALITY
) -> int:
    """Write RGB frames as one H.264 video of the constant rate factor `quality` and return how many there were.

    Raises:
        DataError: a frame is not a uint8 array of the camera's size, or the size is odd.
    """
    if camera.height % 2 or camera.width % 2:
        raise DataError(
            f"camera {camera.name!r}: expected even height and width, which H.264 needs, "
            f"got {camera.height}x{camera.width}. Render it one pixel larger."
        )
    count = 0
    convert, options = VideoReformatter(), _conversion_options()
    with av.open(str(path), "w") as container:
        encoding = {**_ENCODER_OPTIONS, "crf": str(quality)}
        stream = container.add_stream("libx264", rate=exact_rate(rate_hz), options=encoding)
        stream.height, stream.width, stream.pix_fmt = camera.height, camera.width, "yuv420p"
        stream.codec_context.thread_count = 1  # demonstrations already run one process per core
        for frame in frames:
            require_frame(frame, camera, count)
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(convert.reformat(image, format="yuv420p", **options)))
            count += 1
        if count:
            container.mux(stream.encode())
    return count


def require_frame(frame: np.ndarray, camera: Camera, index: int) -> None:
    """Raise unless `frame` is an RGB image of the camera's size.

    Raises:
        DataError: naming camera, frame, expected and given shape.
    """
    expected = (camera.height, camera.width, 3)
    if frame.dtype != np.uint8 or frame.shape != expected:
        raise DataError(
            f"camera {camera.name!r}, frame {index}: expected uint8 {expected}, "
            f"got {frame.dtype} {frame.shape}. Correct the size in the spec or the renderer."
        )


def join_videos(paths: Sequence[Path], lengths: Sequence[int], output: Path, rate_hz: float) -> None:
    """Put videos of the same size and encoder, of so many frames each, one after the other, copying their packets.

    Frame n of the result is shown at n / rate_hz seconds, across all joins.

    Raises:
        DataError: a file is damaged, has more or fewer frames, or was encoded differently from the first.
    """
    tick = 1 / exact_rate(rate_hz)
    position = 0
    header: bytes | None = None
    with av.open(str(output), "w") as container:
        joined = None
        for path, length in zip(paths, lengths, strict=True):
            end = position + length
            try:
                with av.open(str(path)) as piece:
                    stream = piece.streams.video[0]
                    if joined is None:
                        joined = container.add_stream_from_template(stream)
                        header = stream.codec_context.extradata
                    elif stream.codec_context.extradata != header:
                        raise DataError(
                            f"{path}: expected the same encoder settings as {paths[0]}, got others. "
                            "Record all episodes with one version of this package, or re-encode this file."
                        )
                    for packet in piece.demux(stream):
                        if packet.pts is None:  # the empty packet that ends every stream
                            continue
                        packet.stream = joined
                        packet.time_base = tick
                        packet.pts = packet.dts = position
                        packet.duration = 1
                        container.mux(packet)
                        position += 1
            except (av.error.FFmpegError, IndexError) as error:
                raise _damaged(path, str(error)) from error
            if position != end:
                raise _damaged(path, f"{length + position - end} frames, where {length} are announced")


@dataclass(frozen=True)
class VideoFrames:
    """When each frame of a video file is shown, as its packets say, and where decoding can begin."""

    path: Path
    tick: Fraction
    """Seconds; the unit of all times here."""
    shown: Int64[np.ndarray, " frames"]
    """When the frames are shown, each later than the one before."""
    key_frames: Int64[np.ndarray, "keys 2"]
    """When the frames that decoding can begin at are shown, and when they are decoded, by which files are searched."""

    @classmethod
    def find(cls, path: Path) -> "VideoFrames":
        """Read all packets of a file, which takes a hundredth of the time that decoding them does.

        Raises:
            DataError: the file is missing or damaged, or its frames have no times, or two of them the same.
        """
        with _opened(path) as (container, stream):
            tick = stream.time_base
            if tick is None:
                raise _damaged(path, "a stream without time base")
            packets = [
                (packet.pts, packet.dts, packet.is_keyframe)
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard
            ]
        times = [
            (at, at if decoded is None else decoded, key) for at, decoded, key in packets if at is not None
        ]
        if not packets:
            raise _damaged(path, "none of its frames")
        if len(times) < len(packets):
            raise _damaged(path, "frames without times")
        shown = np.array(sorted(time for time, _, _ in times), np.int64)
        if (twice := np.flatnonzero(np.diff(shown) == 0)).size:
            raise _damaged(path, f"two frames at {int(shown[twice[0]]) * float(tick):.3f} s")
        keys = sorted((time, decoded) for time, decoded, is_key in times if is_key)
        return cls(path, tick, shown, np.array(keys, np.int64).reshape(-1, 2))

    def __len__(self) -> int:
        return len(self.shown)

    def nearest(self, rate_hz: float, start: float, count: int) -> Int64[np.ndarray, " count"]:
        """The positions, among all frames, of those at `start`, `start + 1 / rate_hz`, ... seconds.

        At 10 Hz with frames at 0, 0.1, 0.21 and 0.4 s, three from 0.1 on are refused: none is within 0.05 s of 0.3.

        Raises:
            DataError: one of the times has no frame within half a period; naming it and the nearest frame's.
        """
        if not 0 < count <= len(self):
            raise _damaged(self.path, f"{len(self)} frames, where {count} from {start:.3f} s on are needed")
        period = 1 / rate_hz
        wanted, times = start + period * np.arange(count), self.shown * float(self.tick)
        after = np.searchsorted(times, wanted).clip(0, len(times) - 1)
        before = (after - 1).clip(0)
        found = np.where(np.abs(times[before] - wanted) < np.abs(times[after] - wanted), before, after)
        is_off = ~(np.abs(times[found] - wanted) < _LARGEST_SHIFT * period)
        if is_off.any():
            row = int(is_off.argmax())
            raise _damaged(
                self.path,
                f"{row} of the {count} frames from {start:.3f} s on: row {row} is at {wanted[row]:.3f} s, "
                f"the nearest frame at {times[found[row]]:.3f} s",
            )
        return found

    def decode(self, positions: Int64[np.ndarray, " count"], camera: Camera) -> Iterator[np.ndarray]:
        """Decode the frames at ascending positions, (height, width, 3) uint8 RGB, each one once.

        Raises:
            DataError: the file is damaged, or of another size, or holds no colors.
        """
        due = deque(enumerate(self.shown[positions].tolist()))
        key = int(np.searchsorted(self.key_frames[:, 0], due[0][1], side="right")) - 1
        for begin in (key, key - 1):
            if begin > 0:
                try:
                    yield from self._decode_after(begin, due, camera, int(self.key_frames[key, 0]))
                    return
                except DataError:
                    pass  # a key frame of an open group may need a frame before it; from the first on none is missing
        yield from self._decode_after(0, due, camera)

    def _decode_after(
        self, begin: int, due: deque[tuple[int, int]], camera: Camera, sound_from: int = 0
    ) -> Iterator[np.ndarray]:
        """Decode the frames of the rows and times `due`, which are taken out, from one of the key frames on.

        What cannot be decoded before the time `sound_from`, that of a later key frame, is passed over.
        """
        # One converter for all frames: making one per frame, as frame.to_ndarray does, takes ten times as long.
        convert, options = VideoReformatter(), _conversion_options()
        first, seconds = None, float(self.tick)
        with _opened(self.path, camera) as (container, stream):
            if begin > 0:
                container.seek(int(self.key_frames[begin, 1]), stream=stream)
            for packet in container.demux(stream):
                if packet.pts is not None and begin > 0:
                    first = packet.pts if first is None else first
                    if packet.pts < first:
                        continue  # shown before the key frame, and made of frames before it that are missing here
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    if packet.pts is None or packet.pts >= sound_from:
                        raise
                    continue
                for frame in frames:
                    row, time = due[0]
                    if frame.pts is None or frame.pts < time:
                        continue
                    if frame.pts > time:
                        raise _damaged(self.path, f"no frame that can be decoded at {time * seconds:.3f} s")
                    if frame.is_corrupt:
                        raise _damaged(self.path, f"a corrupt frame at {frame.time:.3f} s")
                    _require_color(self.path, frame, camera)
                    image = convert.reformat(frame, format="rgb24", **options).to_ndarray()
                    try:
                        require_frame(image, camera, row)
                    except DataError as error:
                        raise DataError(f"{self.path}, {error}") from None
                    due.popleft()
                    yield image
                    if not due:
                        return
        raise _damaged(self.path, f"no frame that can be decoded at {due[0][1] * seconds:.3f} s")


def decode_video(
    path: Path, camera: Camera, rate_hz: float, start: float, count: int
) -> Iterator[np.ndarray]:
    """Decode `count` frames, those at `start`, `start + 1 / rate_hz`, ... seconds, each within half a period.

    Raises:
        DataError: the file is missing, damaged or of another size, or has no frame at one of the times.
    """
    video = VideoFrames.find(path)
    yield from video.decode(video.nearest(rate_hz, start, count), camera)


@contextmanager
def _opened(path: Path, camera: Camera | None = None) -> Generator[tuple[InputContainer, VideoStream]]:
    """A file and its stream, which is decoded strictly where a camera is given, and no larger than that needs."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # None where FFmpeg knows no decoder, of which PyAV's types say nothing.
            context = cast(VideoCodecContext | None, stream.codec_context)
            if context is None:
                raise _damaged(path, "a stream of an unknown codec")
            if camera is not None:
                pixels = _LARGEST_SURPLUS * (camera.height + 64) * (camera.width + 64)
                context.options = {"err_detect": "explode", "max_pixels": str(pixels)}
            yield container, stream
    except (av.error.FFmpegError, IndexError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _require_color(path: Path, frame: av.VideoFrame, camera: Camera) -> None:
    components = frame.format.components
    if len(components) == 1 and components[0].bits > 8:
        raise DataError(
            f"{path}, camera {camera.name!r}: expected color pictures, got {frame.format.name}, as depth maps have. "
            "Leave the camera out of the spec."
        )


def _damaged(path: Path, got: str) -> DataError:
    return DataError(f"{path}: expected a complete video, got {got}. Restore this file from its source.")


@functools.cache
def _conversion_options() -> dict[str, int]:
    """One thread per color conversion, the fastest for small images; older PyAV knows no other number."""
    try:
        VideoReformatter().reformat(av.VideoFrame(2, 2, "yuv420p"), format="rgb24", threads=1)
    except TypeError:
        return {}
    return {"threads": 1}
