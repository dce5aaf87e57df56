"""openpi's LIBERO form: flat keys under `observation/`, pictures of 224 pixels that the client has turned by 180 degrees.

Turned so, they are what the spec calls `IMAGE_BOTTOM_UP_ROTATED_180`. States and actions are the same numbers as ours:
position, axis angle and two fingers; a displacement and a gripper command of -1 (open) to +1 (close).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from focusvla.errors import ConfigurationError
from focusvla.serving.forms.fields import (
    Request,
    read_image_of_any_size,
    read_prompt,
    read_state,
    require_fields,
)
from focusvla.suites.libero import LIBERO_CAMERAS, libero_spec
from focusvla.suites.libero import OPENPI_IMAGE_FIELDS as IMAGE_FIELDS
from focusvla_client import Observation, Spec

OPENPI_LIBERO = "openpi LIBERO"


def is_libero(message: Mapping[str, Any]) -> bool:
    """Whether the keys are those of this form, complete or not."""
    return any(key.startswith("observation/") for key in message)


def read_libero(message: Mapping[str, Any], spec: Spec, cameras: tuple[str, ...]) -> Request:
    """Read a request of openpi's LIBERO client.

    Raises:
        ConfigurationError: naming the field, or the form and the policy that do not belong together.
    """
    expected = libero_spec(1)
    if (
        replace(spec, cameras=(), control_rate_hz=expected.control_rate_hz) != replace(expected, cameras=())
        or tuple(camera.name for camera in spec.cameras) != LIBERO_CAMERAS
    ):
        raise ConfigurationError(
            f"request: is in the {OPENPI_LIBERO} form, for one arm of {len(expected.state)} states and "
            f"{expected.action_space} actions of {len(expected.action)} numbers; this policy has "
            f"{len(spec.state)} states, {spec.action_space} actions of {len(spec.action)} numbers and the cameras "
            f"{', '.join(camera.name for camera in spec.cameras)}. Serve a policy that was trained for LIBERO."
        )
    images = (IMAGE_FIELDS[camera] for camera in cameras)
    require_fields(
        message, OPENPI_LIBERO, (*images, "observation/state", "prompt"), tuple(IMAGE_FIELDS.values())
    )
    read = {
        camera.name: read_image_of_any_size(
            IMAGE_FIELDS[camera.name], message[IMAGE_FIELDS[camera.name]], camera
        )
        for camera in spec.cameras
        if camera.name in cameras
    }
    return Request(
        form=OPENPI_LIBERO,
        observation=Observation(
            images={name: image for name, (image, _) in read.items()},
            state=read_state("observation/state", message["observation/state"], spec),
            instruction=read_prompt("prompt", message["prompt"]),
        ),
        resized=tuple(remark for _, remark in read.values() if remark),
    )
