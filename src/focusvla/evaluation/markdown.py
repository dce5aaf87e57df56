"""Tables for Markdown pages."""

from collections.abc import Iterable, Sequence


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A heading and a line for each row, whose cells are shown as `str` does, with bars escaped."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"

    return "\n".join([line(columns), "|---" * len(columns) + "|", *map(line, rows)])
