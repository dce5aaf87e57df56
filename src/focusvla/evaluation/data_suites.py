"""Which suites a data set was recorded in, by what its parts are called and what its episodes are told to do."""

from focusvla.data.episodes import EpisodeSource
from focusvla.data.mixture import parts_of
from focusvla.errors import ConfigurationError
from focusvla.evaluation.parts import named_suites
from focusvla.simulation.environment import suite_tasks
from focusvla.suites import suites


def tasks_of_data(source: EpisodeSource) -> dict[str, tuple[int, ...]]:
    """By suite, the tasks that a data set shows.

    A part is of the suite whose name it bears, else of the one that has a task for each of its instructions.

    Raises:
        ConfigurationError: no suite fits a part, or several do; what to say is told.
        MissingDependencyError: the simulator is not installed.
    """
    found: dict[str, set[int]] = {}
    numbers = {
        suite: {_plain(task.instruction): task.index for task in suite_tasks(suite)}
        for suite, row in suites().items()
        if row.environment and not row.spec(source.spec.cameras[0].height).differences(source.spec)
    }
    for part in parts_of(source):
        wanted = {_plain(part.source.episode(index).instruction) for index in range(part.source.num_episodes)}
        named = [suite for suite in named_suites(part.name) if suite in numbers]
        fitting = named or [suite for suite, tasks in numbers.items() if wanted <= tasks.keys()]
        if len(fitting) != 1:
            raise ConfigurationError(
                f"evaluation.suites: expected one suite with the tasks of {part.name or 'the data'}, got "
                f"{' and '.join(fitting) or 'none'} for {min(wanted)!r}. Say what to play: --evaluation.suites."
            )
        (suite,) = fitting
        found.setdefault(suite, set()).update(
            numbers[suite][each] for each in wanted if each in numbers[suite]
        )
    return {suite: tuple(sorted(tasks)) for suite, tasks in found.items()}


def _plain(instruction: str) -> str:
    return " ".join(instruction.lower().split()).rstrip(".")
