"""A self-contained HTML page from a template, written whole or not at all.

Its Content-Security-Policy lets no request leave the page and runs nothing but the scripts that this package brings.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from focusvla.errors import StorageError
from focusvla.storage import replace_text
from focusvla.visualization.data_uris import image_uri


def require_file(output: Path, field: str = "output", example: str = "page.html") -> None:
    """Raise if `output`, given as `field`, is a folder, before anything is computed for it.

    Raises:
        StorageError: it is.
    """
    if output.is_dir():
        raise StorageError(f"{field}={output}: expected a file, got a folder. Choose {output / example}.")


def write_page(
    output: Path, template: str, *, styles: Sequence[str], scripts: Sequence[str] = (), **values: Any
) -> Path:
    """Fill in a template of this package, with its style sheets and scripts inside, and return `output`.

    Raises:
        StorageError: it cannot be written; what was there stays.
    """
    style, script = _joined(styles), _joined(scripts)
    page = (
        _environment()
        .get_template(template)
        .render(
            style=style,
            script=script,
            content_security_policy=_security_policy(style, script),
            **values,
        )
    )
    replace_text(output, page)
    return output


def _joined(names: Sequence[str]) -> str:
    folder = resources.files("focusvla.visualization")
    return "\n".join((folder / name).read_text("utf-8") for name in names)


def _security_policy(style: str, script: str) -> str:
    """Nothing but this style, this script, and pictures and videos that are inside the page."""
    return (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script) if script else repr('none')}; "
        "img-src data:; media-src blob:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("focusvla", "visualization"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    environment.filters["short"] = lambda value: f"{value:.3g}"
    environment.filters["pretty"] = lambda values: json.dumps(values, indent=2, ensure_ascii=False)
    environment.filters["image_uri"] = image_uri
    return environment
