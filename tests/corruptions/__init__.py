"""Ways in which data sets are broken, by format and name: each changes a valid one in a folder.

`FORMATS` has for every format how a valid data set is written; `CORRUPTIONS` what is done to it. A corruption draws from
`random.Random` what it changes, so one name stands for many cases.
"""

from corruptions import hdf5, lerobot_tables, lerobot_videos, rlds
from corruptions.registry import CORRUPTIONS, FORMATS

__all__ = ["CORRUPTIONS", "FORMATS", "hdf5", "lerobot_tables", "lerobot_videos", "rlds"]
