"""Weights files of tiny TabPFNs with random weights. What these predict means nothing."""

from pathlib import Path

from musicnb.models.tabular import WEIGHTS


def make_weights(folder: Path) -> Path:
    """Both files under their official names, in the folder."""
    import torch
    from tabpfn.architectures import ARCHITECTURES

    build = ARCHITECTURES["tabpfn_v2"]
    for kind, classes, buckets in (("regressor", 0, 100), ("classifier", 10, -1)):
        asked = {
            "emsize": 32,
            "nlayers": 2,
            "nhead": 2,
            "max_num_classes": classes,
            "num_buckets": buckets,
        }
        torch.manual_seed(1)
        state = build.get_architecture(build.parse_config(asked)[0]).state_dict()
        if kind == "regressor":
            state |= {
                "criterion.borders": torch.linspace(-4, 4, buckets + 1),
                "criterion.losses_per_bucket": torch.zeros(buckets),
            }
        torch.save(
            {"state_dict": state, "config": asked, "architecture_name": "tabpfn_v2"},
            folder / WEIGHTS[kind],
        )
    return folder
