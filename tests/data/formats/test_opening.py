"""Which reader opens a data set, and which conventions a name stands for."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from focusvla.data.formats.hub import download
from focusvla.data.formats.opening import open_source, read_spec
from focusvla.data.memory import MemorySource
from focusvla.errors import ConfigurationError, DataError
from focusvla.suites.libero import libero_spec
from focusvla_client import Spec
from focusvla_client.bimanual import robotwin_spec
from hub_server import serve_dataset
from written_datasets import write_rlds


def test_a_folder_that_this_package_wrote_needs_no_spec(dataset: Path, spec: Spec):
    assert open_source(dataset).spec == spec
    assert open_source(str(dataset)).num_episodes == 3


def test_what_is_not_here_is_looked_for_on_the_hub(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with serve_dataset("lab/arm", dataset) as hub:
        folder = download("lab/arm", cache=tmp_path / "cache", endpoint=hub.endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    from_hub = open_source("lab/arm")
    assert from_hub.fingerprint() == open_source(folder).fingerprint()
    assert np.stack(list(from_hub.frames(2, "image"))).shape == (2, 16, 16, 3)
    with pytest.raises(DataError, match=r"lab/leg: expected a local path or a data set on the Hub"):
        open_source(Path("lab/leg"))
    shutil.copytree(dataset, "lab/arm")
    (tmp_path / "lab/arm/meta/info.json").unlink()
    with pytest.raises(DataError, match="nothing that looks like one"):  # the folder, not the Hub's
        open_source("lab/arm")


def test_the_data_sets_of_a_collection_are_named(dataset: Path, memory: MemorySource, tmp_path: Path):
    write_rlds(tmp_path / "arm_sets" / "1.0.0", memory, name="arm")
    with pytest.raises(DataError, match=rf"Data sets in it: {dataset}, {tmp_path}/arm_sets/1\.0\.0\."):
        open_source(tmp_path)


def test_a_spec_is_a_json_file_or_a_known_name(tmp_path: Path, spec: Spec):
    file = tmp_path / "own.json"
    file.write_text(json.dumps(spec.to_dict()))
    assert read_spec(str(file)) == spec
    assert read_spec("libero") == libero_spec(256)
    assert read_spec("libero:128") == libero_spec(128)
    assert read_spec("robotwin") == robotwin_spec(240, 320)
    assert read_spec("robotwin:48x64") == robotwin_spec(48, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("libera", "spec='libera' is unknown; did you mean 'libero'"),
        ("libero:large", "expected an image size in pixels after the colon, got 'large'. Write libero:256"),
        ("libero:240x320", "got '240x320'. Write libero:256"),
        ("robotwin:240", "got '240'. Write robotwin:240x320"),
        ("libero:0", "got '0'"),
        ("nowhere.json", "spec='nowhere.json': expected a JSON file that holds a spec"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(text: str, message: str):
    with pytest.raises(ConfigurationError, match=message):
        read_spec(text)


def test_a_file_that_holds_no_spec_is_refused(tmp_path: Path):
    file = tmp_path / "spec.json"
    file.write_text('{"cameras": []}')
    with pytest.raises(ConfigurationError, match=r"expected a JSON file that holds a spec, got .*missing"):
        read_spec(str(file))


def test_a_place_without_data_set_lists_what_was_looked_for(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere: expected a data set, got no such file or folder"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError) as caught:
        open_source(tmp_path)
    for hint in ("meta/info.json", "dataset_info.json", "_demo.hdf5", "episode*.hdf5"):
        assert hint in str(caught.value)


def test_a_data_set_of_others_needs_a_spec(dataset: Path, spec: Spec):
    (dataset / "meta/spec.json").unlink()
    with pytest.raises(DataError, match=r"Pass a spec"):
        open_source(dataset)
    assert open_source(dataset, spec=spec).num_episodes == 3
