"""The list of failures in docs/recovery.md and the tests that prove it belong together."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIST = TESTS.parent / "docs" / "recovery.md"


def marked(path: Path) -> set[int]:
    """Numbers in the ``row`` marks of a test module."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.row"]
    numbers = {arg.value for mark in marks for arg in mark.args if isinstance(arg, ast.Constant)}
    tables = re.findall(r'^    "[\w.-]+": \[([\d, ]+)\],$', path.read_text(), re.MULTILINE)
    return {number for number in numbers if isinstance(number, int)} | {
        int(number) for table in tables for number in table.split(",")
    }


def test_every_row_has_a_test_and_every_mark_a_row() -> None:
    """No row is merely claimed, and no test proves a row that is not there."""
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", LIST.read_text(), re.MULTILINE)}
    marks = set().union(*(marked(path) for path in TESTS.rglob("test_*.py")))

    assert rows - marks == set()
    assert marks - rows == set()
