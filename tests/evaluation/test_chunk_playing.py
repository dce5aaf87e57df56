"""Success against latency: every setting is played, and drawn."""

import json
import sys

import pytest
from PIL import Image

from benchmark_scripts import script


@pytest.mark.simulator
@pytest.mark.slow
def test_settings_are_played_and_drawn(blind_checkpoint, tmp_path, monkeypatch, capfd):
    chunk_playing = script("chunk_playing")
    command = [str(blind_checkpoint), str(tmp_path), "--suites", "reach", "--tasks", "0", "--trials", "1"]
    command += [
        "--protocol",
        "reach",
        "--players",
        "blended",
        "--intervals",
        "2",
        "--latencies-ms",
        "0",
        "300",
    ]
    monkeypatch.setattr(sys, "argv", ["chunk_playing.py", *command])
    chunk_playing.main()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["player"], line["interval"], line["latency_ms"]) for line in lines] == [
        ("blended", 2, 0),
        ("blended", 2, 300),
    ]
    assert all(line["success"]["episodes"] == 1 and line["mean_jerk"] >= 0 for line in lines)
    assert lines[0]["mean_jerk"] != lines[1]["mean_jerk"]
    with Image.open(tmp_path / "chunk_playing.png") as drawn:
        assert drawn.size == (1200, 480)
