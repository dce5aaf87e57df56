"""Equations of the site as MathML, which browsers draw by themselves: nothing is fetched and no script runs.

`$x_t$` in a line, `$$x_t \\tag{1}$$` in a paragraph of its own, in what LaTeX writes; code stays as it is.
"""

import re
from typing import Any

from latex2mathml.converter import convert

_CODE_OR_EQUATION = re.compile(
    r"(?P<code>```.*?```|`[^`\n]+`|(?:^(?: {4}|\t).*\n?)+)"
    r"|^\$\$(?P<block>.+?)(?:\\tag\{(?P<number>\d+)\})?\s*\$\$$"
    r"|\$(?P<inline>[^$\n`]+)\$",
    re.DOTALL | re.MULTILINE,
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with a page's text."""
    return _CODE_OR_EQUATION.sub(_drawn, markdown) if "$" in markdown else markdown


def _drawn(found: re.Match[str]) -> str:
    if found["code"]:
        return found["code"]
    if found["inline"]:
        return (
            f"<span>{convert(found['inline'])}</span>"  # a line that began with math would end the paragraph
        )
    number = f"<span>({found['number']})</span>" if found["number"] else ""
    return f'<div class="equation">{convert(found["block"].strip(), display="block")}{number}</div>'
