"""Serves recorded actions over vla-eval's protocol; run by `peer_vla_eval.py` with vla-eval's own Python.

    python vla_eval_policy.py RECORDING.npz EVENTS.jsonl PORT

`RECORDING.npz` holds the chunk length as `chunk` and, per init state, its actions, (steps, 7), as `0`, `1`, ... A line of
`EVENTS.jsonl` is written at the end of each episode: when it ended (a clock that all processes share), how it went, and
what the policy was shown each time it was asked.
"""

import json
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from vla_eval.model_servers.predict import PredictModelServer  # pyright: ignore[reportMissingImports]
from vla_eval.model_servers.serve import serve  # pyright: ignore[reportMissingImports]


class RecordedActions(PredictModelServer):
    """Answers each session with the recorded actions of the init state that its episode began at."""

    def __init__(self, recording: Path, events: Path):
        with np.load(recording) as saved:
            actions = {name: saved[name] for name in saved.files}
        super().__init__(chunk_size=int(actions.pop("chunk")))
        self._actions = {int(name): episode for name, episode in actions.items()}
        self._events = events
        self._init_states: dict[str, int] = {}
        self._shown: dict[str, list[dict]] = {}

    def get_observation_params(self) -> dict:
        """Both cameras and the state."""
        return {"send_wrist_image": True, "send_state": True}

    async def on_episode_start(self, config, ctx) -> None:
        """Note which recording this episode plays."""
        self._init_states[ctx.session_id] = int(config["task"]["episode_idx"])
        self._shown[ctx.session_id] = []
        await super().on_episode_start(config, ctx)

    def predict(self, obs, ctx) -> dict:
        """The next chunk."""
        self._shown[ctx.session_id].append(
            {
                "state": obs["states"].tolist(),
                "images": [zlib.crc32(obs["images"][camera].tobytes()) for camera in ("agentview", "wrist")],
            }
        )
        actions = self._actions[self._init_states[ctx.session_id]]
        if ctx.step >= len(actions):  # an empty chunk would leave the client waiting
            raise RuntimeError(f"the recording ends at step {len(actions)}, and the episode has not")
        return {"actions": actions[ctx.step : ctx.step + self.chunk_size]}

    async def on_episode_end(self, result, ctx) -> None:
        """Write the episode's line."""
        await super().on_episode_end(result, ctx)
        line = {
            "session": ctx.session_id,
            "init_state": self._init_states[ctx.session_id],
            "success": bool(result.get("metrics", {}).get("success")),
            "steps": result.get("steps"),
            "ended": time.monotonic(),
            "shown": self._shown[ctx.session_id],
        }
        with self._events.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    recording, events, port = sys.argv[1:]
    serve(RecordedActions(Path(recording), Path(events)), "127.0.0.1", int(port))
