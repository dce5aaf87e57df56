"""A checkpoint behind the evaluation harness vla-eval, protocol 1 (extra `vla-eval`).

The harness plays its LIBERO benchmark and asks after every step; the chunk that is played open loop lies here, one for
each session. Its pictures are 256 pixels wide, flipped along both axes as ours are; they are resized to the size that
the policy was trained with. Its states are ours when it leaves the sign of quaternions alone, which we ask it to.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from focusvla.data.transforms import resize_picture
from focusvla.errors import ConfigurationError, MissingDependencyError
from focusvla.policy import FocusVLAPolicy
from focusvla.suites.libero import LIBERO_CAMERAS, libero_spec
from focusvla_client import Observation

try:
    from vla_eval.model_servers.predict import PredictModelServer  # pyright: ignore[reportMissingImports]
    from vla_eval.model_servers.serve import serve  # pyright: ignore[reportMissingImports]
    from vla_eval.specs import (  # pyright: ignore[reportMissingImports]
        GRIPPER_CLOSE_POS,
        IMAGE_RGB,
        LANGUAGE,
        POSITION_DELTA,
        ROTATION_AA,
        STATE_EEF_POS_AA_GRIP,
    )
except ImportError as error:
    raise MissingDependencyError("vla-eval", extra="vla-eval", purpose="Serving to vla-eval") from error

CAMERAS: dict[str, str] = dict(zip(LIBERO_CAMERAS, ("agentview", "wrist"), strict=True))
"""Our camera names to the harness's."""


class VLAEvalServer(PredictModelServer):  # pyright: ignore[reportUntypedBaseClass]  # as its import says
    """Answers the harness's LIBERO benchmark with a policy."""

    def __init__(
        self,
        policy: FocusVLAPolicy,
        *,
        actions_per_inference: int,
        max_batch: int = 1,
        max_batch_wait_seconds: float = 0.01,
    ):
        """Serve `policy`: of each chunk the first `actions_per_inference` are played before it is asked again, and it
        answers up to `max_batch` sessions at once.

        Raises:
            SpecMismatchError: the policy was not trained for LIBERO; every differing convention is named.
            ConfigurationError: its chunks are shorter.
        """
        size = policy.spec.cameras[0].height
        policy.spec.require_equal(libero_spec(size), "the policy", "LIBERO")
        steps = policy.experiment.model.chunk_length
        if not 1 <= actions_per_inference <= steps:
            raise ConfigurationError(
                f"actions_per_inference={actions_per_inference}: expected 1..{steps}, the policy's chunk."
            )
        super().__init__(
            chunk_size=actions_per_inference, max_batch_size=max_batch, max_wait_time=max_batch_wait_seconds
        )
        self._policy = policy
        self._size = size

    def get_observation_params(self) -> dict[str, Any]:
        """What the benchmark must show, and the conventions by which published evaluations show it."""
        return {
            "send_wrist_image": bool(self._policy.cameras),
            "send_state": True,
            "env_seed": 0,
            "quat_no_antipodal": True,
        }

    def get_action_spec(self) -> dict[str, Any]:
        """The action's parts in the harness's words; the benchmark closes the gripper at 0 and above."""
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self) -> dict[str, Any]:
        """The observation's parts in the harness's words."""
        images = {CAMERAS[camera]: IMAGE_RGB for camera in self._policy.cameras}
        return {**images, "language": LANGUAGE, "state": STATE_EEF_POS_AA_GRIP}

    def predict_batch(self, obs_batch: list[dict[str, Any]], ctx_batch: list[Any]) -> list[dict[str, Any]]:
        """A chunk for each session.

        Raises:
            ConfigurationError: an observation is incomplete or of another form; the harness is told.
        """
        chunks = self._policy.infer_batch([self.to_observation(shown) for shown in obs_batch])
        return [{"actions": chunk} for chunk in chunks]

    def to_observation(self, shown: dict[str, Any]) -> Observation:
        """What the policy sees of what the benchmark shows.

        Raises:
            ConfigurationError: naming the part that is missing or of another form.
        """
        for part in ("states", "task_description"):
            if part not in shown:
                raise ConfigurationError(
                    f"{part}: expected it in an observation of LIBERO, got {', '.join(shown)}."
                )
        images = shown.get("images", {})
        return Observation(
            images={camera: self._seen(images, CAMERAS[camera]) for camera in self._policy.cameras},
            state=np.asarray(shown["states"], np.float32),
            instruction=shown["task_description"],
        )

    def _seen(self, images: dict[str, np.ndarray], camera: str) -> UInt8[np.ndarray, "size size 3"]:
        image = images.get(camera)
        if image is None or image.dtype != np.uint8 or image.ndim != 3 or len({*image.shape[:2]}) != 1:
            got = "none" if image is None else f"{image.shape} {image.dtype}"
            raise ConfigurationError(
                f"images[{camera!r}]: expected a square picture of uint8 RGB, got {got}."
            )
        return resize_picture(image, self._size)


def serve_to_vla_eval(server: VLAEvalServer, host: str, port: int) -> None:
    """Answer until the process is stopped."""
    serve(server, host, port)
