"""A stand-in for Kaggle's client: a small table in place of a download."""

import tempfile
from pathlib import Path


def dataset_download(handle: str) -> str:
    """The folder of the download."""
    from musicnb.studies.registry import DATASETS, make_twin

    dataset = next(d for d in DATASETS.values() if d.kaggle == handle)
    folder = Path(tempfile.mkdtemp())
    make_twin(dataset.name, 2_000).to_csv(folder / dataset.file, index=False)
    return str(folder)
