"""Decoder layers of the Llama kind as exporters write them with a growing cache: the token's hidden state and the
past keys and values go in, the next hidden state and the caches with this token appended come out."""

import numpy as np
from network import Network
from transformers import attend, dense, heads, rms_norm, rotate


def cached(net, past, new, name, count, kv, length, size):
    """The past with the new position after it, and the same with each key head repeated for its query heads."""
    whole = net.node("Concat", [past, new], f"{name}/append", axis=2)
    wide = net.constant(f"{name}.wide", [1, kv, count // kv, length, size], np.int64)
    flat = net.constant(f"{name}.flat", [1, count, length, size], np.int64)
    y = net.node("Unsqueeze", [whole, net.constant(f"{name}.axis", [2], np.int64)], f"{name}/unsqueeze")
    return whole, net.node("Reshape", [net.node("Expand", [y, wide], f"{name}/expand"), flat], f"{name}/flatten")


def decoder(name, width, count, kv, size, inner, past, layers=1):
    """`layers` layers at position `past`: rotary embedding by halves, grouped heads, two RMS norms, gated silu."""
    net = Network(name, 17)
    x = net.input("x", [1, 1, width])
    inputs = {"x": net.rng.normal(0, 1, (1, 1, width)).astype(np.float32)}
    angles = np.outer(np.arange(past + 1), 1e4 ** (-np.arange(0, size, 2) / size))
    here = net.constant("position", [past], np.int64)
    tables = []
    for part, f in (("cos", np.cos), ("sin", np.sin)):
        table = net.constant(f"{part}.table", np.concatenate([f(angles)] * 2, 1))
        tables.append(net.node("Gather", [table, here], f"{part}/gather"))
    outputs = {}
    for i in range(layers):
        p = f"layers.{i}"
        h = rms_norm(net, x, f"{p}/input_norm", width)
        parts = {}
        for n, number in (("q", count), ("k", kv), ("v", kv)):
            y = dense(net, h, f"{p}/{n}", width, number * size, False)
            y = heads(net, y, f"{p}/{n}_heads", 1, number, size)
            parts[n] = y if n == "v" else rotate(net, y, *tables, f"{p}/{n}_rope", size // 2)
        wide = {}
        for n in "kv":
            key = f"past_{n}{i}"
            net.input(key, [1, kv, past, size])
            inputs[key] = net.rng.normal(0, 1, (1, kv, past, size)).astype(np.float32)
            whole, wide[n] = cached(net, key, parts[n], f"{p}/{n}_cache", count, kv, past + 1, size)
            outputs[whole] = (f"present_{n}{i}", [1, kv, past + 1, size])
        k = net.node("Transpose", [wide["k"]], f"{p}/k_transpose", perm=[0, 1, 3, 2])
        h = attend(net, parts["q"], k, wide["v"], None, f"{p}/attention", 1, (count, size))
        x = net.node("Add", [x, dense(net, h, f"{p}/o", count * size, width, False)], f"{p}/residual_1")
        h = rms_norm(net, x, f"{p}/post_norm", width)
        gate, up = dense(net, h, f"{p}/gate", width, inner, False), dense(net, h, f"{p}/up", width, inner, False)
        gate = net.node("Mul", [gate, net.node("Sigmoid", [gate], f"{p}/sigmoid")], f"{p}/silu")
        h = dense(net, net.node("Mul", [gate, up], f"{p}/swiglu"), f"{p}/down", inner, width, False)
        x = net.node("Add", [x, h], f"{p}/residual_2")
    return net.model({x: ("y", [1, 1, width]), **outputs}), inputs


def tiny():
    """A layer that a small mesh holds."""
    return decoder("decoder-tiny", 64, 4, 2, 16, 128, 37)


def uneven():
    """Two layers whose extents divide by nothing: 3 groups of 2 heads, 50 wide."""
    return decoder("decoder-uneven", 50, 6, 3, 10, 90, 21, 2)


def llama_8b():
    """A layer of LLaMA-3-8B at position 2047: 218 million weights."""
    return decoder("decoder-llama-8b", 4096, 32, 8, 128, 14336, 2047)
