"""The mock offers what the real service's own document says, no more and no less."""

import json
from pathlib import Path
from typing import Any

import pytest

from mock_api.app import create_app
from mock_api.world import World

document: dict[str, Any] = json.loads((Path(__file__).parent / "worker-facing-openapi.json").read_text())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = create_app(World(), tmp_path_factory.mktemp("mock"))
    generated = app.openapi()
    app.state.mock.log.close()
    written: dict[str, Any] = json.loads(json.dumps(generated))
    return written


def test_offers_the_same_paths(ours: dict[str, Any]) -> None:
    """Every route of the document is there, and no other one shows."""
    assert sorted(document["paths"]) == sorted(ours["paths"])


@pytest.mark.parametrize("path", document["paths"])
def test_describes_a_path_alike(ours: dict[str, Any], path: str) -> None:
    """Operation ids, parameters, bodies and answers of each route equal the document's."""
    assert document["paths"][path] == ours["paths"][path]


@pytest.mark.parametrize("name", document["components"]["schemas"])
def test_describes_a_schema_alike(ours: dict[str, Any], name: str) -> None:
    """Each component schema equals the document's."""
    assert document["components"]["schemas"][name] == ours["components"]["schemas"].get(name)


def test_writes_the_same_document(ours: dict[str, Any]) -> None:
    """Nothing else differs either."""
    assert document == ours
