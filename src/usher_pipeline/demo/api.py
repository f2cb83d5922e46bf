"""An HTTP API on this machine that serves real genes, in pages and slowly."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import as_file, files
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

__all__ = ["LAYERS", "PAGE_LIMIT", "serving"]

#: The layers of evidence that a gene may have a score of.
LAYERS: Final = (
    "gnomad",
    "expression",
    "annotation",
    "localization",
    "animal_model",
    "literature",
)

#: More records than these are not served on one page.
PAGE_LIMIT: Final = 2000


def _genes() -> pl.DataFrame:
    import polars as pl

    with as_file(files("usher_pipeline.demo") / "genes.parquet") as path:
        return pl.read_parquet(path)


def _page(genes: pl.DataFrame, path: str) -> dict[str, Any] | None:
    """Return what one request asks for, or None when there is no such thing."""
    address = urlsplit(path)
    asked = {name: values[-1] for name, values in parse_qs(address.query).items()}
    try:
        size = min(int(asked.get("size", "500")), PAGE_LIMIT)
        first = (int(asked.get("page", "1")) - 1) * size
    except ValueError:
        return None
    if size < 1 or first < 0:
        return None
    rows = genes.slice(first, size)
    if address.path == "/genes":
        records = rows.select("gene_id", symbol="gene_symbol")
    elif address.path == "/evidence":
        records = rows.select("gene_id", *(f"{layer}_score" for layer in LAYERS))
    else:
        return None
    return {"total": genes.height, "records": records.to_dicts()}


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, after a while."""

    def __init__(self, *request: Any, genes: pl.DataFrame, delay_s: float) -> None:
        self.genes = genes
        self.delay_s = delay_s
        super().__init__(*request)

    def do_GET(self) -> None:
        """Send a page as JSON, or 404."""
        page = _page(self.genes, self.path)
        time.sleep(self.delay_s)
        body = json.dumps(page or {"error": f"nothing at {self.path}"}).encode()
        self.send_response(404 if page is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
        """Say nothing: the terminal belongs to the demo."""


@contextmanager
def serving(delay_s: float = 0.05) -> Iterator[str]:
    """Serve the genes while the block runs.

    Args:
        delay_s: How long each page takes at least, in seconds.

    Yields:
        The address, such as ``http://127.0.0.1:40123``.

    >>> from urllib.request import ProxyHandler, build_opener
    >>> opener = build_opener(ProxyHandler({}))
    >>> with serving(delay_s=0) as address:
    ...     page = json.load(opener.open(f"{address}/genes?page=1&size=2"))
    >>> page["total"], page["records"][0]["symbol"]
    (18243, 'TSPAN6')
    """
    handler = partial(_Handler, genes=_genes(), delay_s=delay_s)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,), name="usher-demo-api")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
