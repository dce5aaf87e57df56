"""An export is a folder that answers as the checkpoint does without focusvla, or it is not there."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from focusvla.cli import main
from focusvla.errors import ExportError, MissingDependencyError
from focusvla.export.check import TOLERANCE, Question, draw_questions, require_equal_answers
from focusvla.export.export import export_policy
from focusvla.export.onnx import require_onnx, save_onnx
from focusvla.model.prompt import PROMPT
from focusvla.policy import load_policy
from focusvla.presets import mini, paper_tiny, tiny
from focusvla.suites.libero import libero_spec
from untrained_checkpoints import write_checkpoint
from vla_adapter_runs import write_toy_run

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="needs ONNX: pip install 'focusvla[onnx]'")
FORMATS = ["torch", pytest.param("onnx", marks=needs_onnx)]
VOCABULARY = ("bowl", "pick", "the", "up")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A `tiny` policy whose pictures are resized."""
    return write_checkpoint(
        tmp_path_factory.mktemp("export") / "checkpoint", tiny(), libero_spec(48), VOCABULARY
    )


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    export_policy(checkpoint, folder, "torch")
    return folder


@pytest.mark.slow
def test_the_command_tells_how_far_the_exported_policy_is_from_the_checkpoint(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(checkpoint), "--output", str(tmp_path / "export")])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "8 random observations answered as by the checkpoint" in shown
    check = json.loads((tmp_path / "export" / "policy.json").read_text())["check"]
    assert check["observations"] == 8
    assert check["greatest_difference"] < check["tolerance"] == TOLERANCE


@pytest.mark.slow
def test_the_description_holds_what_must_be_known_to_ask(exported):
    description = json.loads((exported / "policy.json").read_text())
    assert {each["name"]: (each["dtype"], each["shape"]) for each in description["inputs"]} == {
        "images.image": ("uint8", ["batch", 48, 48, 3]),
        "images.image2": ("uint8", ["batch", 48, 48, 3]),
        "token_ids": ("int64", ["batch", "tokens"]),
        "token_mask": ("bool", ["batch", "tokens"]),
        "state": ("float32", ["batch", 8]),
    }
    assert [each["shape"] for each in description["outputs"]] == [["batch", 4, 7]]
    assert description["spec"] == json.loads(json.dumps(libero_spec(48).to_dict()))
    assert description["tokenizer"]["vocabulary"] == {"bowl": 2, "pick": 3, "the": 4, "up": 5}


@pytest.mark.slow
def test_an_answer_that_differs_is_found(checkpoint, exported):
    policy = load_policy(checkpoint)
    (question, *_) = draw_questions(policy, seed=1)
    assert require_equal_answers(exported, [question], policy) < TOLERANCE
    for difference, complaint in ((0.001, "answers otherwise"), (np.nan, "answers otherwise")):
        wrong = Question(question.observations, question.answer + np.float32(difference))
        with pytest.raises(ExportError, match=complaint):
            require_equal_answers(exported, [wrong], policy)


@pytest.mark.slow
def test_of_an_export_that_fails_nothing_is_left(checkpoint, tmp_path):
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["policy_head.output.bias"] = torch.full((7,), torch.nan)
    broken = write_checkpoint(tmp_path / "broken", tiny(), libero_spec(48), VOCABULARY)
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(ExportError, match=r"expected finite actions of shape \(1, 4, 7\)"):
        export_policy(broken, tmp_path / "export", "torch")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("preset", [mini, paper_tiny])
def test_presets_of_other_classes_are_exported(preset, format, tmp_path):
    size = preset().model.vision.image_size
    folder = write_checkpoint(tmp_path / "checkpoint", preset(), libero_spec(size), VOCABULARY)
    assert export_policy(folder, tmp_path / "export", format).difference < TOLERANCE


@pytest.mark.slow
@needs_onnx
def test_onnx_resizes_and_pads_as_the_policy_does(checkpoint, tmp_path):
    assert export_policy(checkpoint, tmp_path / "export", "onnx").difference < TOLERANCE


@pytest.mark.slow
def test_a_prompts_tokenizer_goes_with_the_policy(tmp_path):
    letters = {character: index for index, character in enumerate(sorted(set(PROMPT)))}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    folder = write_checkpoint(tmp_path / "checkpoint", paper_tiny(), libero_spec(56), tokenizer=tokenizer)
    assert export_policy(folder, tmp_path / "export", "torch").difference < TOLERANCE
    description = json.loads((tmp_path / "export" / "policy.json").read_text())
    assert description["tokenizer"]["prompt"] == PROMPT


class _StablySorted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sort(x, stable=True).values


@needs_onnx
@pytest.mark.slow
def test_an_operator_that_onnx_lacks_is_named(tmp_path):
    program = torch.export.export(_StablySorted(), (torch.ones(2),))
    with pytest.raises(ExportError, match=r"got aten\.sort\.stable, which it lacks\. Use --format torch"):
        save_onnx(program, tmp_path / "x.onnx", input_names=["x"], output_names=["y"], open_dimensions=({},))


@pytest.mark.skipif(HAS_ONNX, reason="ONNX is installed here")
def test_missing_onnx_packages_name_the_extra():
    with pytest.raises(MissingDependencyError, match=r"pip install 'focusvla\[onnx\]'"):
        require_onnx()


def test_an_existing_folder_is_kept(checkpoint, tmp_path, capsys):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(checkpoint), "--output", str(tmp_path)])
    assert stopped.value.code == 2
    assert "expected a folder that does not exist yet" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_vla_adapter_policy_is_exported_with_its_jpeg_before_the_graph(format, tmp_path):
    run = write_toy_run(tmp_path / "run", "pro")
    assert export_policy(run, tmp_path / "export", format).difference < TOLERANCE
    description = json.loads((tmp_path / "export" / "policy.json").read_text())
    assert description["jpeg_before"] == {"quality": 95, "chroma": "4:2:0"}
    assert "JPEG of quality 95" in description["inputs"][0]["meaning"]
