"""One folder from the parts of an evaluation."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from focusvla.errors import ConfigurationError, DataError
from focusvla.evaluation.evaluate import require_same_rules
from focusvla.evaluation.results import join_results, read_results, result_line
from focusvla.evaluation.tables import require_one_protocol
from focusvla.storage import publish_folder

_FOLDERS = ("trajectories", "observations", "videos")


def merge_evaluations(parts: Sequence[Path], output: Path) -> tuple[int, int]:
    """Write what `parts` hold to `output`; return how many episodes these are, and how many were planned in all.

    Raises:
        DataError: a part is no evaluation.
        ConfigurationError: parts of different policies or protocols, or an episode that came out differently in two.
        StorageError: `output` exists already or cannot be written.
    """
    if not parts:
        raise ConfigurationError("folders: expected at least one evaluation, got none.")
    read = {str(part): read_results(part / "results.jsonl") for part in parts}
    require_one_protocol(read)
    results = join_results(list(read.values()))
    results.sort(key=lambda r: (r.suite, r.condition, r.task, r.trial))
    rules = [_read_rules(part) for part in parts]
    for part in parts:
        require_same_rules(part, rules[0])
    by_shard = {(values.get("shard"), values.get("num_shards")): values.get("planned", 0) for values in rules}
    num_shards = max(values.get("num_shards", 1) for values in rules)
    planned = sum(by_shard.values()) * num_shards // len(by_shard)
    with publish_folder(output) as folder:
        whole = {**rules[0], "shard": 0, "num_shards": 1, "planned": planned}
        (folder / "protocol.json").write_text(json.dumps(whole, indent=2), "utf-8")
        (folder / "results.jsonl").write_text("".join(map(result_line, results)), "utf-8")
        incidents = [part / "incidents.jsonl" for part in parts if (part / "incidents.jsonl").exists()]
        if incidents:
            text = "".join(file.read_text("utf-8") for file in incidents)
            (folder / "incidents.jsonl").write_text(text, "utf-8")
        for name in _FOLDERS:
            for part in parts:
                if (part / name).is_dir():
                    unfinished = shutil.ignore_patterns(".*")
                    shutil.copytree(part / name, folder / name, dirs_exist_ok=True, ignore=unfinished)
    return len(results), planned


def _read_rules(part: Path) -> dict[str, Any]:
    try:
        return json.loads((part / "protocol.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{part / 'protocol.json'}: cannot be read ({error}). Evaluate again.") from error
