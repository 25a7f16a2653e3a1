from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.stores.sql.servers import SERVERS, Server
from tests.support.databases import database_url


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    kind = request.param
    url = database_url(kind, tmp_path)
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as line:

        def run(statement: str) -> Any:
            result = line.exec_driver_sql(statement)
            return result.all() if result.returns_rows else None

        yield Server(kind, url, run)
