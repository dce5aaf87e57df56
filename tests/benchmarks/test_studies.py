"""The paper's comparisons as studies: each row can be built, and each claim is about rows that are there."""

from pathlib import Path

import pytest

from focusvla.cli.study import read_study

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
FILES = sorted(STUDIES.rglob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(STUDIES)))
def test_every_row_of_a_study_can_be_built_and_none_is_another(file):
    read = read_study(file)
    assert read.refused == {}
    assert len(read.rows) >= 3
    assert read.claims
    assert len(read.seeds) >= 3


def test_the_paper_is_asked_whatever_the_small_policy_is():
    """`attention_128` asks in fewer tokens what `attention` does."""
    small = {file.name.replace("_128", "") for file in STUDIES.glob("*.toml")}
    assert small == {file.name for file in (STUDIES / "paper").glob("*.toml")}
    assert small
