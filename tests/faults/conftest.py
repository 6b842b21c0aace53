"""One stage for all scenarios, and each of them on both servers; on uvicorn they belong to the long run."""

from collections.abc import Iterator

import pytest

from tests.faults.rig import Stage, on_stage


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with on_stage() as found:
        yield found


@pytest.fixture(params=["daphne", pytest.param("uvicorn", marks=pytest.mark.slow)], scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    """The server that the application runs on."""
    return str(request.param)
