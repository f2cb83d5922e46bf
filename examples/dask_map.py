"""A map over genes on a Dask cluster: workers ask, the client stores what comes back.

Run it with ``pip install "usher-pipeline[dask]"`` and ``python examples/dask_map.py``, as
often as you like: the second time nobody is asked. The cluster is one of two processes of
this machine; with the address of a scheduler in place of it, workers are anywhere.
"""

from __future__ import annotations

import os

import polars as pl
from distributed import Client, LocalCluster

from usher_pipeline import checkpoint

GENES = ["USH2A", "MYO7A", "CDH23", "PCDH15", "ADGRV1", "WHRN", "CLRN1", "USH1C"]


@checkpoint(name="gene_lengths")
def gene_lengths(gene: str) -> pl.DataFrame:
    """Return what is known of a gene, and which process was asked."""
    return pl.DataFrame({"gene": [gene], "length": [len(gene)], "process": [os.getpid()]})


def main() -> None:
    """Ask for all genes, two at a time."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        # Of two attempts at one gene each is to be made.
        executor = client.get_executor(pure=False)
        frame = gene_lengths.mapped(over="gene", workers=2, executor=executor)(GENES)
    asked_elsewhere = frame["process"].ne(os.getpid()).all()
    print(f"{frame.height} genes, all asked in other processes: {asked_elsewhere}")


if __name__ == "__main__":
    main()
