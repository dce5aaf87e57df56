"""Equations of the site are MathML, and what a shell means by a dollar stays as it is."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("latex2mathml", reason="needs the extra `dev`")

HOOK = Path(__file__).parents[1] / "docs" / "hooks" / "equations.py"


def drawn(markdown: str) -> str:
    spec = importlib.util.spec_from_file_location("equations", HOOK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.on_page_markdown(markdown)


@pytest.mark.parametrize(
    "text", ["`kill $!; echo $x`", "```bash\necho $a $b\n```", "    curl $A/$B\n    kill $!\n", "no dollar"]
)
def test_code_stays_as_it_is(text: str):
    assert drawn(text) == text


def test_an_equation_in_a_line_and_one_with_its_number():
    shown = drawn("The latent $A_t$.\n\n$$A_{t+1} = x \\tag{8}$$\n")
    line, equation = shown.strip().split("\n\n")
    assert line.startswith("The latent <span><math ")
    assert line.endswith("</math></span>.")
    assert "<msub><mi>A</mi><mi>t</mi></msub>" in line
    assert equation.startswith('<div class="equation"><math ')
    assert equation.endswith("</math><span>(8)</span></div>")
