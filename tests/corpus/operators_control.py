"""`If`, `Loop` and `Scan` whose conditions and trip counts are known, and an `If` that is not."""

import numpy as np
from cases import Case, fixed
from onnx import TensorProto, helper, numpy_helper


def value(name, kind=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def branch(name, op, operands):
    return helper.make_graph([helper.make_node(op, operands, [name])], name, [], [value(name)])


def cases(rng):
    def n(*shape):
        return rng.normal(0, 1, shape).astype(np.float32)

    half = numpy_helper.from_array(np.array(0.5, np.float32), "half")

    def choice(name, condition):
        then = helper.make_graph([helper.make_node("Identity", ["half"], ["t"])], "then", [], [value("t")], [half])
        two = numpy_helper.from_array(np.array(2, np.float32), "two")
        other = helper.make_graph([helper.make_node("Sqrt", ["two"], ["e"])], "else", [], [value("e")], [two])
        return Case(name, "If", [condition], {"then_branch": then, "else_branch": other}, domain="")

    yield choice("if_true", fixed(np.array(True)))
    yield choice("if_false", fixed(np.array([False])))
    yield choice("if_input", np.array(True))

    def body(extra=(), go="keep", constants=()):
        """state * step + state, and the sum as what is collected."""
        nodes = [
            helper.make_node("Cast", ["i"], ["step"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["state", "step"], ["scaled"]),
            helper.make_node("Add", ["scaled", "state"], ["next"]),
            helper.make_node("ReduceSum", ["next"], ["seen"], keepdims=0),
            *extra,
        ]
        inputs = [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("state")]
        outputs = [value(go, TensorProto.BOOL, []), value("next"), value("seen", shape=[])]
        return helper.make_graph(nodes, "body", inputs, outputs, list(constants))

    keep = helper.make_node("Identity", ["on"], ["keep"])
    count = fixed(np.array(4, np.int64))
    yield Case("loop_count", "Loop", [count, None, n(2, 3)], {"body": body([keep])}, (True, True), domain="")
    yield Case("loop_count_and_condition", "Loop", [count, fixed(np.array(True)), n(2, 3)], {"body": body([keep])}, (True, True), domain="")
    # Goes on while i < 2: the condition is computed from the counter alone.
    limit = numpy_helper.from_array(np.array(2, np.int64), "limit")
    less = helper.make_node("Less", ["i", "limit"], ["keep"])
    yield Case("loop_condition", "Loop", [None, fixed(np.array(True)), n(2, 3)], {"body": body([less], constants=[limit])}, (True, True), domain="")
    yield Case("loop_first_of_both", "Loop", [count, fixed(np.array(True)), n(2, 3)], {"body": body([less], constants=[limit])}, (True, True), domain="")
    none = fixed(np.array(0, np.int64))
    yield Case("loop_never", "Loop", [none, None, n(2, 3)], {"body": body([keep])}, (True, True), domain="")

    def scan(name, **attributes):
        nodes = [
            helper.make_node("Add", ["state", "x"], ["next"]),
            helper.make_node("Mul", ["next", "x"], ["out"]),
        ]
        graph = helper.make_graph(nodes, "body", [value("state", shape=[3]), value("x", shape=[3])], [value("next", shape=[3]), value("out", shape=[3])])
        shape = (3, 5) if attributes.get("scan_input_axes") == [1] else (5, 3)
        return Case(name, "Scan", [n(3), n(*shape)], {"body": graph, "num_scan_inputs": 1, **attributes}, (True, True), domain="")

    yield scan("scan")
    yield scan("scan_reverse", scan_input_directions=[1])
    yield scan("scan_output_reverse", scan_output_directions=[1])
    yield scan("scan_axes", scan_input_axes=[1], scan_output_axes=[1])
    # The initial state and what is collected have no fixed shape in the body.
    yield Case("loop_long", "Loop", [fixed(np.array(40, np.int64)), None, n(1)], {"body": grow()}, (True, True), domain="")


def grow():
    """A running mean with the counter: no overflow however long the loop."""
    half = numpy_helper.from_array(np.array(0.5, np.float32), "half")
    nodes = [
        helper.make_node("Cast", ["i"], ["step"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["state", "step"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["next"]),
        helper.make_node("Identity", ["next"], ["seen"]),
        helper.make_node("Identity", ["on"], ["keep"]),
    ]
    inputs = [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("state")]
    return helper.make_graph(nodes, "body", inputs, [value("keep", TensorProto.BOOL, []), value("next"), value("seen")], [half])
