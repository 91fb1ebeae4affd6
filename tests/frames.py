"""A small table of every kind of column, whose columns depend on each other."""

import numpy as np
import pandas as pd


def mixed_frame(rows: int, seed: int = 0) -> pd.DataFrame:
    """Text, true and false, counts, rounded and real numbers, bounded ones, days."""
    rng = np.random.default_rng(seed)
    site = rng.choice(["north", "south", "west"], rows, p=[0.6, 0.3, 0.1])
    level = np.where(site == "north", 2.0, -1.0) + rng.normal(size=rows)
    return pd.DataFrame(
        {
            "site": site,
            "wet": rng.random(rows) < 1 / (1 + np.exp(-level)),
            "visits": rng.poisson(np.exp(0.5 + 0.3 * level)),
            "depth": (20 + 3 * level + rng.normal(size=rows)).round(1),
            "level": level,
            "share": 1 / (1 + np.exp(-level - rng.normal(size=rows))),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), "D"),
        }
    )


BOUNDS = {"share": (0.0, 1.0)}
