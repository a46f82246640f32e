#!/usr/bin/env python3
"""Golden Frechet distances (tests/data/rewards/frechet.json): the formula with matrix square roots, in numpy.

The sets are made by the linear congruential generator of make_rewards.py, row by row mixed so that features are correlated.
"""
import json

import numpy as np

from make_rewards import OUT, fraction

CASES = {"ordinary": (40, 6, 40), "more features than videos": (12, 20, 12), "uneven counts": (50, 3, 9), "two videos": (2, 8, 2), "one feature": (15, 1, 15),
         "wide": (30, 64, 25)}


def sets(name, n, d, m):
    mix = fraction(name + " mix", d * d).reshape(d, d)
    return fraction(name + " a", n * d).reshape(n, d) @ mix, fraction(name + " second", m * d).reshape(m, d) @ mix * 1.5 + 0.25


def square_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def distance(a, b):
    s1, s2 = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    root = square_root(s1)
    shared = np.trace(square_root(root @ s2 @ root))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * shared)


def main():
    golden = {"versions": {"numpy": np.__version__}, "cases": {name: {"shape": shape, "distance": distance(*sets(name, *shape))} for name, shape in CASES.items()}}
    with open(OUT / "frechet.json", "w") as out:
        json.dump(golden, out, indent=1, sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    main()
