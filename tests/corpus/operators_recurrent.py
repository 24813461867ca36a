"""RNN, GRU and LSTM in all directions and layouts, with lengths, states, peepholes and activations."""

import numpy as np
from cases import Case, fixed

TIME, BATCH, FEATURES, HIDDEN = 5, 3, 4, 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def cases(rng):
    def n(*shape, scale=0.5):
        return rng.normal(0, scale, shape).astype(np.float32)

    def case(name, op, direction="forward", bias=True, lengths=None, state=False, peephole=False, **attributes):
        d, g = (2 if direction == "bidirectional" else 1), GATES[op]
        operands = [n(TIME, BATCH, FEATURES), fixed(n(d, g * HIDDEN, FEATURES)), fixed(n(d, g * HIDDEN, HIDDEN))]
        operands += [fixed(n(d, 2 * g * HIDDEN)) if bias else None]
        operands += [lengths, n(d, BATCH, HIDDEN) if state else None]
        if op == "LSTM":
            operands += [n(d, BATCH, HIDDEN) if state else None, fixed(n(d, 3 * HIDDEN)) if peephole else None]
        attributes = {"hidden_size": HIDDEN, "direction": direction, **attributes}
        outputs = (True,) * (3 if op == "LSTM" else 2)
        return Case(f"{op.lower()}_{name}", op, operands, attributes, outputs, domain="")

    uneven = np.array([5, 2, 3], np.int32)
    for op in GATES:
        for direction in ("forward", "reverse", "bidirectional"):
            yield case(direction, op, direction)
            yield case(f"{direction}_state", op, direction, state=True)
            yield case(f"{direction}_lengths", op, direction, lengths=uneven, state=True)
            yield case(f"{direction}_fixed_lengths", op, direction, lengths=fixed(uneven))
        yield case("no_bias", op, bias=False)
        yield case("clip", op, clip=0.3)
    yield case("linear_before_reset", "GRU", linear_before_reset=1, state=True)
    yield case("linear_before_reset_both", "GRU", "bidirectional", linear_before_reset=1, lengths=uneven)
    yield case("linear_before_reset_no_bias", "GRU", bias=False, linear_before_reset=1)
    yield case("relu", "GRU", activations=["Sigmoid", "Relu"])
    yield case("peephole", "LSTM", peephole=True, state=True)
    yield case("peephole_both", "LSTM", "bidirectional", peephole=True)
    yield case("input_forget", "LSTM", input_forget=1)
    yield case("activations", "LSTM", activations=["HardSigmoid", "Relu", "Tanh"], activation_alpha=[0.3], activation_beta=[0.4])
    yield case("relu", "RNN", activations=["Relu"])
    yield case("affine", "RNN", "bidirectional", activations=["LeakyRelu", "Affine"], activation_alpha=[0.2, 0.5], activation_beta=[0.1])
