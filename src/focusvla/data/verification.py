"""What can be told of pictures before the first is decoded."""

import os

from focusvla.data.episodes import EpisodeSource, VerifiableSource
from focusvla.data.mixture import parts_of


def require_pictures(source: EpisodeSource, num_threads: int = 0) -> None:
    """Raise unless every row of a data set, or of the parts of a mixture, has a picture of its own at its time.

    Formats in which a picture lies beside its row have nothing to verify. By default there is a thread for each core.

    Raises:
        DataError: naming the file and the episodes.
    """
    for part in parts_of(source):
        if isinstance(part.source, VerifiableSource):
            part.source.require_pictures(num_threads or os.cpu_count() or 1)
