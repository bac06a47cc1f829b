"""The OpenAPI document holds what it says: no answer that it does not name, and nothing that breaks the service."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks

import amiss
from amiss.service.web.app import make_app
from amiss.service.web.history import History

FILES = Path(__file__).parents[2] / "registry" / "files"
BEARER = {"Authorization": "Bearer secret"}
#: What a schema cannot say, such as which model there is, may still be refused; but as the document says.
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def test_every_answer_is_one_that_the_document_names(tmp_path: Path) -> None:
    load, history = partial(amiss.load, without_torch=True), History(str(tmp_path / "history.db"))
    app = make_app([FILES / "panel.amiss"], load, token="secret", history=history)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=BEARER)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {"/models/{name}/score", "/v2/models/{name}/infer", "/metrics", "/history"} <= {
        each.path for each in operations
    }
    for operation in operations:

        @settings(
            max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy(), known=st.booleans())
        def holds(case: schemathesis.Case, known: bool) -> None:
            if known and "name" in case.path_parameters:
                case.path_parameters["name"] = "panel"
            case.call_and_validate(headers=BEARER, checks=CHECKS)

        holds()
