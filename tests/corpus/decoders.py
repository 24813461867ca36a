"""Decoder layers of the Llama kind as exporters write them: the token's hidden state and the past keys and values go
in, the next hidden state and the caches with this token come out. The cache grows, or it is static: as long as ever, and
the token's place is an input."""

import numpy as np
from network import Network
from transformers import attend, dense, heads, rms_norm, rotate


def written(net, past, new, place, name):
    """The past with the new position after it, or in its place."""
    if place is None:
        return net.node("Concat", [past, new], f"{name}/append", axis=2)
    old = net.node("Mul", [past, place["rest"]], f"{name}/keep")
    return net.node("Add", [old, net.node("Mul", [new, place["here"]], f"{name}/write")], f"{name}/add")


def places(net, length):
    """From the token's place, an input: where it is written, where not, and the mask of later positions."""
    pos = net.input("pos", [1], np.int64)
    span = net.constant("positions", np.arange(length), np.int64)
    here = net.node("Cast", [net.node("Equal", [span, pos], "here/equal")], "here/cast", to=1)
    here = net.node("Reshape", [here, net.constant("here.shape", [1, 1, length, 1], np.int64)], "here")
    later = net.node("Cast", [net.node("Greater", [span, pos], "later/greater")], "later/cast", to=1)
    mask = net.node("Mul", [later, net.constant("lowest", -1e9)], "mask")
    return {"pos": pos, "here": here, "rest": net.node("Sub", [net.constant("unit", 1.0), here], "rest"), "mask": mask}


def cached(net, past, new, place, name, count, kv, length, size):
    """The cache, and the same with each key head repeated for its query heads."""
    whole = written(net, past, new, place, name)
    wide = net.constant(f"{name}.wide", [1, kv, count // kv, length, size], np.int64)
    flat = net.constant(f"{name}.flat", [1, count, length, size], np.int64)
    y = net.node("Unsqueeze", [whole, net.constant(f"{name}.axis", [2], np.int64)], f"{name}/unsqueeze")
    return whole, net.node("Reshape", [net.node("Expand", [y, wide], f"{name}/expand"), flat], f"{name}/flatten")


def decoder(name, width, count, kv, size, inner, past, layers=1, static=None):
    """`layers` layers at position `past`: rotary embedding by halves, grouped heads, two RMS norms, gated silu. A static
    cache has `static` positions."""
    net = Network(name, 17)
    x = net.input("x", [1, 1, width])
    inputs = {"x": net.rng.normal(0, 1, (1, 1, width)).astype(np.float32)}
    length = static or past + 1
    angles = np.outer(np.arange(length), 1e4 ** (-np.arange(0, size, 2) / size))
    place = places(net, length) if static else None
    if static:
        inputs["pos"] = np.array([past])
    here = place["pos"] if static else net.constant("position", [past], np.int64)
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
            net.input(key, [1, kv, static or past, size])
            inputs[key] = net.rng.normal(0, 1, (1, kv, static or past, size)).astype(np.float32)
            whole, wide[n] = cached(net, key, parts[n], place, f"{p}/{n}_cache", count, kv, length, size)
            outputs[whole] = (f"present_{n}{i}", [1, kv, length, size])
        k = net.node("Transpose", [wide["k"]], f"{p}/k_transpose", perm=[0, 1, 3, 2])
        h = attend(net, parts["q"], k, wide["v"], static and place["mask"], f"{p}/attention", 1, (count, size))
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


def llama_8b_static():
    """The same with a cache of 2,048 positions, the last of which is written."""
    return decoder("decoder-llama-8b-static", 4096, 32, 8, 128, 14336, 2047, static=2048)


def static():
    """Three layers with static caches, in the middle of which the token is written."""
    return decoder("decoder-static", 48, 6, 2, 12, 80, 19, 3, static=40)
