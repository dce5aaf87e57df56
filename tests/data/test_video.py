"""A row's picture is the frame that is shown at its time, however a video is encoded."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import av.codec
import av.error
import numpy as np
import pytest
from av.video.stream import VideoStream

from focusvla.data.video import decode_video
from focusvla.errors import DataError
from focusvla_client import Camera
from written_datasets import write_timed_video

COUNT = 26
CAMERA = Camera("front", 32, 32)
CODECS = {
    "H.264, a key frame in 2": ("libx264", {"g": "2", "bf": "0"}),
    "H.264, B-frames": ("libx264", {"g": "12", "bf": "3"}),
    "H.264, open groups": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "H.264, one key frame": ("libx264", {"g": "250", "bf": "3"}),
    "H.264, refreshed row by row": ("libx264", {"g": "12", "bf": "0", "x264-params": "intra-refresh=1"}),
    "HEVC": ("libx265", {"x265-params": "log-level=none:bframes=4:keyint=12"}),
    "HEVC, one key frame": ("libx265", {"x265-params": "log-level=none:keyint=250"}),
    "AV1, a key frame in 2": ("libsvtav1", {"g": "2", "preset": "12"}),
    "AV1, a key frame in 30": ("libsvtav1", {"g": "30", "preset": "12"}),
    "VP9": ("libvpx-vp9", {"b:v": "0", "g": "12", "deadline": "realtime"}),
}


def _write(
    path: Path, times: Sequence[int], rate: int = 10, codec: str = "libx264", options: dict | None = None
) -> Path:
    """Frames that move over noise and brighten by 8 from one to the next, shown at `times` in units of 1 / rate."""
    noise = np.random.default_rng(0).integers(-15, 16, (32, 32, 3))
    frames = [20 + 8 * number + np.roll(noise, 2 * number, axis=1) for number in range(len(times))]
    steady = {"sc_threshold": "0"} if codec == "libx264" else {}  # key frames are where the options put them
    options = {"crf": "5", **steady, **(options or {})}
    return write_timed_video(path, [frame.astype(np.uint8) for frame in frames], times, rate, codec, options)


def _shown(path: Path, start: float, count: int, rate_hz: float = 10.0) -> list[int]:
    """The numbers of the frames that are decoded."""
    return [
        round((float(frame.mean()) - 20) / 8) for frame in decode_video(path, CAMERA, rate_hz, start, count)
    ]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    return lambda *arguments, name="a.mp4", **options: _write(tmp_path / name, *arguments, **options)


@pytest.mark.parametrize("name", CODECS)
def test_whatever_frame_a_row_begins_at_it_is_that_frame(name: str, write: Callable[..., Path]):
    codec, options = CODECS[name]
    try:
        av.codec.Codec(codec, "w")
    except av.error.FFmpegError:
        pytest.skip(f"no encoder {codec}")
    path = write(range(COUNT), codec=codec, options=options)
    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    np.testing.assert_array_equal([*decode_video(path, CAMERA, 10.0, 0.0, COUNT)], whole)
    if codec != "libx265":  # which garbles a few of a hundred videos this small
        assert _shown(path, 0.0, COUNT) == list(range(COUNT))
    for first in range(COUNT - 1):
        part = list(decode_video(path, CAMERA, 10.0, first / 10, 2))
        np.testing.assert_array_equal(part, whole[first : first + 2])


def test_a_frame_near_a_rows_time_is_the_rows(write: Callable[..., Path]):
    assert _shown(write([0, 10, 24, 26, 40], rate=100), 0.0, 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            [0, 1, 2, 4, 5],
            r"got 3 of the 5 frames from 0\.000 s on: row 3 is at 0\.300 s, the nearest .* at 0\.[24]00",
        ),
        ([1, 2, 3, 4, 5], r"got 0 of the 5 frames .*: row 0 is at 0\.000 s, the nearest frame at 0\.100 s"),
        ([0, 1, 2, 3], r"got 4 frames, where 5 from 0\.000 s on are needed"),
    ],
)
def test_a_row_without_a_frame_within_half_a_period_is_named(
    times: list[int], message: str, write: Callable[..., Path]
):
    with pytest.raises(DataError, match=rf"a\.mp4: expected a complete video, {message}"):
        _shown(write(times), 0.0, 5)


@pytest.mark.parametrize("start", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_start_that_is_no_time_of_the_video_is_refused(start: float, write: Callable[..., Path]):
    with pytest.raises(DataError, match="got 0 of the 2 frames"):
        _shown(write(range(4)), start, 2)


def test_a_frame_exactly_between_two_rows_belongs_to_neither(write: Callable[..., Path]):
    path = write([0, 15, 20], rate=100)
    with pytest.raises(DataError, match=r"row 1 is at 0\.100 s, the nearest frame at 0\.150 s"):
        _shown(path, 0.0, 2)


def test_frames_between_the_rows_are_passed_over(write: Callable[..., Path]):
    assert _shown(write(range(8), rate=20), 0.1, 3) == [2, 4, 6]


def test_depth_in_a_video_is_no_color(tmp_path: Path):
    with av.open(str(tmp_path / "depth.mp4"), "w") as container:
        stream = container.add_stream("libx265", rate=10, options={"x265-params": "log-level=none"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "gray12le"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32), 9000, np.uint16), format="gray16le")
            container.mux(stream.encode(frame.reformat(format="gray12le")))
        container.mux(stream.encode())
    with pytest.raises(
        DataError, match=r"camera 'front': expected color pictures, got gray12le, as depth maps"
    ):
        _shown(tmp_path / "depth.mp4", 0.0, 1)


def test_a_picture_far_larger_than_the_camera_takes_no_memory(write: Callable[..., Path]):
    path = write(range(3))
    with pytest.raises(DataError, match=r"a\.mp4"):
        next(decode_video(path, Camera("front", 2, 2), 10.0, 0.0, 1))
