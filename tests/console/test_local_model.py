"""LOCAL_MODEL: a model file served beside the console."""

from pathlib import Path

import pytest

from console import local_model
from console.errors import BadSetting


def test_without_a_file_nothing_is_served() -> None:
    with local_model.serving("") as url:
        assert url == ""


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(BadSetting, match="not there"), local_model.serving("/no/such/model.gguf"):
        pass


def test_the_server_that_ends_early_ends_the_start_and_its_words_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"no model")
    monkeypatch.setattr(local_model, "find_spec", lambda name: True)  # as if llama.cpp were installed

    with pytest.raises(BadSetting, match="did not become ready"), local_model.serving(str(path)):
        pass
    words = capfd.readouterr().err
    assert "xllamacpp" in words or "model.gguf" in words  # it came as far as its engine
    assert "No module named 'console'" not in words
