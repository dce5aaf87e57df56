"""One folder from the parts of an evaluation."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from focusvla.data.storage import publish_folder
from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.results import join_results, read_results

_FOLDERS = ("trajectories", "observations", "videos")


def merge_evaluations(parts: Sequence[Path], output: Path) -> int:
    """Write what `parts` hold to `output` and return the number of episodes.

    Raises:
        DataError: a part is no evaluation.
        ConfigurationError: parts of different policies or protocols, or an episode that came out differently in two.
        StorageError: `output` exists already or cannot be written.
    """
    if not parts:
        raise ConfigurationError("folders: expected at least one evaluation, got none.")
    read = {part: read_results(part / "results.jsonl") for part in parts}
    kinds = {
        (r.protocol, r.policy, r.actions_per_inference): part for part, found in read.items() for r in found
    }
    if len(kinds) > 1:
        listed = "; ".join(
            f"{part} has {protocol}, policy {policy}, {steps} actions an inference"
            for (protocol, policy, steps), part in kinds.items()
        )
        raise ConfigurationError(f"folders: expected one policy and protocol, got several: {listed}.")
    results = join_results(list(read.values()))
    results.sort(key=lambda r: (r.suite, r.condition, r.task, r.trial))
    rules = parts[0] / "protocol.json"
    if not rules.is_file():
        raise DataError(f"{rules}: expected the protocol of an evaluation, got no file. Evaluate again.")
    with publish_folder(output) as folder:
        shutil.copy(rules, folder)
        lines = [json.dumps(dataclasses.asdict(result)) + "\n" for result in results]
        (folder / "results.jsonl").write_text("".join(lines), "utf-8")
        incidents = [part / "incidents.jsonl" for part in parts if (part / "incidents.jsonl").exists()]
        if incidents:
            text = "".join(file.read_text("utf-8") for file in incidents)
            (folder / "incidents.jsonl").write_text(text, "utf-8")
        for name in _FOLDERS:
            for part in parts:
                if (part / name).is_dir():
                    shutil.copytree(part / name, folder / name, dirs_exist_ok=True)
    return len(results)
