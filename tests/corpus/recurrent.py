"""A bidirectional LSTM, a GRU and a classifier over 20 steps, as exporters write them: the initial states
are zeros spread to shapes that the graph computes."""

import numpy as np
from network import Network

TIME, FEATURES, HIDDEN, CLASSES = 20, 40, 64, 10


def zeros(net, x, name, directions):
    """Initial state: the batch is read from the input's shape."""
    shape = net.node("Shape", [x], f"{name}/shape")
    batch = net.node("Gather", [shape, net.constant(f"{name}.one", 1, np.int64)], f"{name}/batch", axis=0)
    batch = net.node("Unsqueeze", [batch, net.constant(f"{name}.axis", [0], np.int64)], f"{name}/unsqueeze")
    ends = [net.constant(f"{name}.{n}", [v], np.int64) for n, v in (("directions", directions), ("hidden", HIDDEN))]
    shape = net.node("Concat", [ends[0], batch, ends[1]], f"{name}/concat", axis=0)
    return net.node("Expand", [net.constant(f"{name}.zero", np.zeros((1, 1, 1))), shape], f"{name}/expand")


def layer(net, op, x, name, width, directions, **attributes):
    gates = 4 if op == "LSTM" else 3
    inputs = [x]
    for part, shape in (("W", (gates * HIDDEN, width)), ("R", (gates * HIDDEN, HIDDEN)), ("B", (2 * gates * HIDDEN,))):
        inputs.append(net.normal(f"{name}.{part}", (directions, *shape), 1 / np.sqrt(shape[-1] if part != "B" else 64)))
    inputs += ["", *(zeros(net, x, f"{name}/{s}", directions) for s in (("h", "c") if op == "LSTM" else ("h",)))]
    direction = "bidirectional" if directions == 2 else "forward"
    return net.node(op, inputs, name, hidden_size=HIDDEN, direction=direction, **attributes)


def lstm_gru():
    net = Network("lstm-gru", 4)
    x = net.input("x", [TIME, "batch", FEATURES])
    h = layer(net, "LSTM", x, "lstm", FEATURES, 2)
    # [time, directions, batch, hidden] to [time, batch, directions * hidden].
    h = net.node("Transpose", [h], "join/transpose", perm=[0, 2, 1, 3])
    h = net.node("Reshape", [h, net.constant("join.shape", [0, 0, -1], np.int64)], "join/reshape")
    h = layer(net, "GRU", h, "gru", 2 * HIDDEN, 1, linear_before_reset=1)
    h = net.node("Squeeze", [h, net.constant("squeeze.axis", [1], np.int64)], "squeeze")
    w = net.normal("classifier.weight", (HIDDEN, CLASSES), 1 / np.sqrt(HIDDEN))
    h = net.node("MatMul", [h, w], "classifier/matmul")
    h = net.node("Add", [h, net.normal("classifier.bias", CLASSES, 0.1)], "classifier/add")
    y = net.node("LogSoftmax", [h], "classifier/softmax", axis=-1)
    x = net.rng.normal(0, 1, (TIME, 1, FEATURES)).astype(np.float32)
    return net.model({y: ("y", [TIME, "batch", CLASSES])}), {"x": x}
