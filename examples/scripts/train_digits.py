#!/usr/bin/env python3
"""Trains the digits classifier of this repository and writes it as ONNX, with a few inputs.

    pip install numpy==2.4.6 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0
    python3 examples/scripts/train_digits.py examples/models

The data are the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships
(`sklearn.datasets.load_digits`); every fifth is held out for testing and never trained on.
The net: conv 3x3 (1 -> 16), relu, max-pool 2, conv 3x3 (16 -> 32), relu, max-pool 2,
dense (128 -> 10), softmax. Plain numpy, Adam, seeded: the same file comes out each time on one
machine. Expected outputs are ONNX Runtime's.
"""

import os
import sys

import numpy as np
import onnx
import onnxruntime
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

SAMPLES = 10  # inputs kept beside the model: of each digit the first held-out one that is recognised


def windows(x):
    """[N, C, H, W] -> [N, H, W, C, 3, 3], zero-padded by one pixel."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sliding_window_view(padded, (3, 3), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)


def conv(x, w, b):
    return np.einsum("nhwcij,mcij->nmhw", windows(x), w, optimize=True) + b[None, :, None, None]


def conv_gradients(x, w, grad):
    flipped = w[:, :, ::-1, ::-1]
    return (
        np.einsum("nmhwij,mcij->nchw", windows(grad).transpose(0, 3, 1, 2, 4, 5), flipped, optimize=True),
        np.einsum("nmhw,nhwcij->mcij", grad, windows(x), optimize=True),
        grad.sum((0, 2, 3)),
    )


def pool(x):
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
    out = blocks.max((3, 5))
    mask = blocks == out[:, :, :, None, :, None]
    return out, mask / mask.sum((3, 5), keepdims=True)


def unpool(grad, mask):
    n, c, h, _, w, _ = mask.shape
    return (grad[:, :, :, None, :, None] * mask).reshape(n, c, 2 * h, 2 * w)


def forward(p, x):
    a1 = conv(x, p["w1"], p["b1"])
    r1, m1 = pool(np.maximum(a1, 0))
    a2 = conv(r1, p["w2"], p["b2"])
    r2, m2 = pool(np.maximum(a2, 0))
    logits = r2.reshape(len(x), -1) @ p["w3"] + p["b3"]
    return a1, r1, m1, a2, r2, m2, logits


def gradients(p, x, y):
    a1, r1, m1, a2, r2, m2, logits = forward(p, x)
    e = np.exp(logits - logits.max(1, keepdims=True))
    d = e / e.sum(1, keepdims=True)
    d[np.arange(len(y)), y] -= 1
    d /= len(y)
    flat = r2.reshape(len(x), -1)
    g = {"w3": flat.T @ d, "b3": d.sum(0)}
    d2 = unpool((d @ p["w3"].T).reshape(r2.shape), m2) * (a2 > 0)
    dr1, g["w2"], g["b2"] = conv_gradients(r1, p["w2"], d2)
    d1 = unpool(dr1, m1) * (a1 > 0)
    _, g["w1"], g["b1"] = conv_gradients(x, p["w1"], d1)
    return g


def train(x, y):
    rng = np.random.default_rng(7)
    shapes = {"w1": (16, 1, 3, 3), "w2": (32, 16, 3, 3), "w3": (128, 10)}
    fan_in = {"w1": 9, "w2": 144, "w3": 128}
    p = {k: rng.normal(0, np.sqrt(2 / fan_in[k]), s) for k, s in shapes.items()}
    p |= {"b1": np.zeros(16), "b2": np.zeros(32), "b3": np.zeros(10)}
    m = {k: np.zeros_like(v) for k, v in p.items()}
    v = {k: np.zeros_like(w) for k, w in p.items()}
    step = 0
    for epoch in range(30):
        rate = 2e-3 * 0.9**epoch
        order = rng.permutation(len(x))
        for i in range(0, len(x), 64):
            batch = order[i : i + 64]
            step += 1
            for k, g in gradients(p, x[batch], y[batch]).items():
                m[k] = 0.9 * m[k] + 0.1 * g
                v[k] = 0.999 * v[k] + 0.001 * g * g
                p[k] -= rate * (m[k] / (1 - 0.9**step)) / (np.sqrt(v[k] / (1 - 0.999**step)) + 1e-8)
    return p


def model(p):
    init = {k: numpy_helper.from_array(p[k].astype(np.float32), k) for k in p}
    shape = numpy_helper.from_array(np.array([1, 128], np.int64), "flat_shape")
    window = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    pooling = dict(kernel_shape=[2, 2], strides=[2, 2])
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], "conv1", **window),
        helper.make_node("Relu", ["c1"], ["a1"], "relu1"),
        helper.make_node("MaxPool", ["a1"], ["p1"], "pool1", **pooling),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], "conv2", **window),
        helper.make_node("Relu", ["c2"], ["a2"], "relu2"),
        helper.make_node("MaxPool", ["a2"], ["p2"], "pool2", **pooling),
        helper.make_node("Reshape", ["p2", "flat_shape"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"], "dense"),
        helper.make_node("Softmax", ["logits"], ["digit"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("digit", TensorProto.FLOAT, [1, 10])],
        [*init.values(), shape],
    )
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="train_digits.py")
    m.ir_version = 8
    onnx.checker.check_model(m, full_check=True)
    return m


def main(out):
    digits = load_digits()
    x = (digits.images / 16).astype(np.float64)[:, None]
    y = digits.target
    held_out = np.arange(len(x)) % 5 == 0
    p = train(x[~held_out], y[~held_out])
    path = os.path.join(out, "digits.onnx")
    with open(path, "wb") as f:
        f.write(model(p).SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    run = lambda image: session.run(None, {"image": image[None].astype(np.float32)})[0]
    recognised = np.array([run(image).argmax() for image in x]) == y
    right = (recognised & held_out).sum()
    print(f"{path}: {right} of {held_out.sum()} held-out digits right ({100 * right / held_out.sum():.1f} %)")
    for digit in range(SAMPLES):
        i = np.flatnonzero(held_out & recognised & (y == digit))[0]
        folder = os.path.join(out, "digits", f"test_data_set_{digit}")
        os.makedirs(folder, exist_ok=True)
        for name, kind, array in [("image", "input", x[i][None].astype(np.float32)), ("digit", "output", run(x[i]))]:
            with open(os.path.join(folder, f"{kind}_0.pb"), "wb") as f:
                f.write(numpy_helper.from_array(array, name).SerializeToString())


if __name__ == "__main__":
    main(sys.argv[1])
