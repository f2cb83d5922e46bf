"""A pipeline of three steps, written as a user of the library writes one.

Fetch the gene universe page by page, fetch the evidence for it, score and rank.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.request import ProxyHandler, build_opener

import polars as pl

from usher_pipeline.decorator import checkpoint, setting, source

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["gene_evidence", "gene_universe", "ranked_genes"]

#: The scores of the API are whole numbers in thousandths.
SCALE: Final = 1000


def pages(address: str, size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of each page until the last."""
    # The API is on this machine, where no proxy leads to.
    opener = build_opener(ProxyHandler({}))
    number, seen, total = 1, 0, 1
    while seen < total:
        with opener.open(f"{address}?page={number}&size={size}") as answer:
            page = json.load(answer)
        number, seen, total = number + 1, seen + len(page["records"]), page["total"]
        yield page["records"]


@checkpoint(name="gene_universe", ignore=["api"])
def gene_universe(
    api: str,
    *,
    release: int = source("ensembl"),
    page_size: int = setting("api.page_size", default=500),
) -> pl.DataFrame:
    """Fetch every gene of an Ensembl release."""
    frames = [pl.DataFrame(page) for page in pages(f"{api}/genes", page_size)]
    return pl.concat(frames).with_columns(release=release)


@checkpoint(name="gene_evidence", sources=["gnomad", "gtex", "hpa"], ignore=["api"])
def gene_evidence(
    api: str, genes: pl.DataFrame, *, page_size: int = setting("api.page_size", default=500)
) -> pl.DataFrame:
    """Fetch the scores of six layers of evidence for each gene."""
    schema = {"gene_id": pl.String}
    frames = [
        pl.DataFrame(page, schema_overrides=schema, infer_schema_length=None)
        for page in pages(f"{api}/evidence", page_size)
    ]
    scores = pl.concat(frames, how="vertical_relaxed")
    layers = [name for name in scores.columns if name.endswith("_score")]
    return genes.select("gene_id").join(
        scores.with_columns(pl.col(layers) / SCALE), on="gene_id", how="left"
    )


@checkpoint(name="ranked_genes")
def ranked_genes(
    genes: pl.DataFrame,
    evidence: pl.DataFrame,
    *,
    weights: dict[str, float] = setting("scoring"),
    min_layers: int = setting("ranking.min_layers"),
    min_score: float = setting("ranking.min_score"),
) -> pl.DataFrame:
    """Score each gene by the layers that it has evidence in, and rank what is left."""
    scores = {layer: pl.col(f"{layer}_score") for layer in weights}
    weighted = pl.sum_horizontal(scores[layer] * weight for layer, weight in weights.items())
    available = pl.sum_horizontal(
        scores[layer].is_not_null() * weight for layer, weight in weights.items()
    )
    layers = pl.sum_horizontal(score.is_not_null() for score in scores.values())
    return (
        genes.join(evidence, on="gene_id")
        .select("gene_id", "symbol", layers=layers, score=(weighted / available).round(4))
        .filter(pl.col("layers") >= min_layers, pl.col("score") >= min_score)
        .sort("score", "gene_id", descending=[True, False])
        .with_row_index("rank", offset=1)
    )
