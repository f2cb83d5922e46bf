"""A pipeline that asks an API on this machine for one gene after another.

Run as ``asking.py PORT COUNT``: it asks for that many genes and prints what it has as JSON.
"""

from __future__ import annotations

import http.client
import json
import sys

import polars as pl

from usher_pipeline import checkpoint
from usher_pipeline.errors import CodeChangedError, UsherError


def fetched(port: int, gene: str) -> list[int]:
    """Return what the API answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/{gene}")
    answer: list[int] = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def parsed(gene: str, numbers: list[int]) -> pl.DataFrame:
    """Return an answer as rows."""
    return pl.DataFrame({"gene": [gene] * len(numbers), "number": numbers}, schema=SCHEMA)


SCHEMA = {"gene": pl.String, "number": pl.Int64}


@checkpoint(name="papers", ignore=["port"], on_code_change="error")
def papers(gene: str, port: int) -> pl.DataFrame:
    """Return what an API knows of a gene."""
    return parsed(gene, fetched(port, gene))


def main(port: int, count: int, *verbs: str) -> None:
    """Ask, and say what came of it."""
    genes = [f"G{number}" for number in range(count)]
    scan = papers.mapped(over="gene", on_error="raise")
    if "accept" in verbs:
        sys.stdout.write(json.dumps({"accepted": scan.accept()}))
        return
    try:
        frame = scan(genes, port=port)
    except CodeChangedError as problem:
        sys.stdout.write(json.dumps({"refused": str(problem)}))
    except (UsherError, ValueError) as problem:
        sys.stdout.write(json.dumps({"failed": str(problem), "notes": problem.__notes__}))
    else:
        sys.stdout.write(json.dumps({"rows": frame.rows()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
