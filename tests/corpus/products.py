"""One matrix product each, for figures of single operations: a square and a vector-matrix product."""

import numpy as np
from network import Network


def product(name, rows, inner, columns):
    """`[rows, inner]` times a constant `[inner, columns]`."""
    net = Network(name, rows + inner + columns)
    x = net.input("x", [rows, inner])
    y = net.node("MatMul", [x, net.normal("w", (inner, columns), 1 / np.sqrt(inner))], "product")
    return net.model({y: ("y", [rows, columns])}), {"x": net.rng.uniform(-1, 1, (rows, inner)).astype(np.float32)}


def gemm():
    return product("gemm-1024", 1024, 1024, 1024)


def gemv():
    return product("gemv-4096", 1, 4096, 4096)
