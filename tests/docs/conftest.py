"""Where the code of the pages is run: in an empty folder, with a secret in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import SECRET


@pytest.fixture(autouse=True)
def new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLASK_JWT_SECRET_KEY", SECRET)
    return tmp_path
