"""Put a trained policy into this package, with what it scored in its model card.

    python packages/focusvla-libero/pack.py RUN RESULTS [RESULTS ...]

RUN is a training run, of which the newest checkpoint is taken without what only training needs. RESULTS are folders of
`focusvla evaluate` of that very policy; others are refused.
"""

import re
import shutil
import sys
from pathlib import Path

from focusvla.checkpoint import TRAINING, open_checkpoint
from focusvla.errors import ConfigurationError
from focusvla.evaluation.markdown import markdown_table
from focusvla.evaluation.results import EpisodeResult, clean_results, read_results, success_rate
from focusvla.storage import replace_text

SCORES = re.compile(r"(?<=<!-- scores -->\n).*(?=<!-- end of scores -->)", re.DOTALL)


def pack(run: Path, folders: list[Path], package: Path) -> None:
    """Replace the checkpoint in `package`, and the scores in its README.md, which is the checkpoint's card as well.

    Raises:
        ConfigurationError: results are another policy's.
    """
    card = package / "README.md"
    found = open_checkpoint(run)
    tables = []
    for folder in folders:
        results = clean_results(read_results(folder / "results.jsonl"))
        if other := {each.policy.weights for each in results} - {found.digest}:
            raise ConfigurationError(
                f"{folder}: expected results of {found.digest}, got some of {', '.join(other)}."
            )
        tables += [score_table(results), task_table(results)]
    scores = "\n" + "\n\n".join(tables) + "\n\n"
    replace_text(card, SCORES.sub(lambda _: scores, card.read_text("utf-8")))
    destination = package / "src" / "focusvla_libero" / "checkpoint"
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(found.folder, destination, ignore=shutil.ignore_patterns(TRAINING))
    shutil.copy(card, destination / "README.md")


def score_table(results: list[EpisodeResult]) -> str:
    """A row a suite, and one for all."""
    suites = sorted({each.suite for each in results})
    rows = [(suite, success_rate(each for each in results if each.suite == suite)) for suite in suites]
    return markdown_table(
        (results[0].protocol, "success (Wilson 95 %)"), [*rows, ("all", success_rate(results))]
    )


def task_table(results: list[EpisodeResult]) -> str:
    """A row a task, the worst first."""
    tasks = {(each.suite, each.task): each.instruction for each in results}
    rates = {task: success_rate(r for r in results if (r.suite, r.task) == task) for task in tasks}
    rows = [
        (suite, tasks[suite, number], f"{rate.successes}/{rate.episodes}")
        for (suite, number), rate in sorted(rates.items(), key=lambda item: (item[1].rate, item[0]))
    ]
    return markdown_table(("suite", f"instruction ({results[0].protocol})", "successes"), rows)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]], Path(__file__).parent)
