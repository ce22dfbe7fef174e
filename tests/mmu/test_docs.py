"""The examples of docs/mmu-library.md print what it says."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

TEXT = Path(__file__).parents[2] / "docs" / "mmu-library.md"


def test_the_examples_print_what_the_document_says() -> None:
    text = TEXT.read_text()
    examples = re.findall(r"```python\n(.*?)```\s*```\n(.*?)```", text, re.DOTALL)
    assert len(examples) == text.count("```python")
    names: dict[str, object] = {}
    for code, said in examples:
        printed = StringIO()
        with redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == said
