"""What results call the policy that was evaluated: two that answer differently are called differently."""

import re
from dataclasses import dataclass

from focusvla.config import AS_SHOWN, GivenPictures, PictureConfig

_FORM = re.compile(
    r"(?P<weights>[0-9a-f]{16})(?:-(?P<precision>bfloat16))?"
    r"(?:-jpeg(?P<jpeg_quality>\d+))?(?:-crop(?P<center_crop_area>0\.\d+))?(?:-(?P<part>.+))?"
)


@dataclass(frozen=True, kw_only=True)
class PolicyIdentity:
    """Written as `0123456789abcdef-bfloat16-jpeg95-crop0.9-libero_goal`, each part only where there is one."""

    weights: str
    """Of the checkpoint's weights, see `focusvla.checkpoint.Checkpoint.digest`."""
    precision: str = ""
    """Of the computation, if it is not float32."""
    pictures: PictureConfig = AS_SHOWN
    """What it does to pictures."""
    part: str = ""
    """The part of a mixture whose robot it drives, if one was named."""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.weights, self.precision, str(self.pictures), self.part)))

    @classmethod
    def parse(cls, text: str) -> "PolicyIdentity":
        """The inverse of `str`; what has another form, such as the name of a policy without weights, is all digest."""
        found = _FORM.fullmatch(text)
        if found is None:
            return cls(weights=text)
        return cls(
            weights=found["weights"],
            precision=found["precision"] or "",
            pictures=PictureConfig(
                jpeg_quality=int(found["jpeg_quality"] or 0),
                center_crop_area=float(found["center_crop_area"] or 1),
            ),
            part=found["part"] or "",
        )

    @property
    def given_pictures(self) -> GivenPictures:
        """What to load the checkpoint with so that it does the same to pictures."""
        return GivenPictures(**vars(self.pictures))
