"""Makes the models of errors.in/, each wrong in one way. Run it in this folder; needs onnx."""

import pathlib

from onnx import TensorProto, helper, numpy_helper
import numpy

OUT = pathlib.Path("errors.in")


def model(nodes, inputs=((1, 4),), initializers=(), outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "broken",
        [helper.make_tensor_value_info(f"x{i or ''}", TensorProto.FLOAT, list(s)) for i, s in enumerate(inputs)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10, producer_name="fixtures")


def save(name, m):
    (OUT / name).write_bytes(m.SerializeToString())


relu = helper.make_node("Relu", ["x"], ["y"], name="act")
good = model([relu])
save("good.onnx", good)
(OUT / "truncated.onnx").write_bytes(good.SerializeToString()[:-20])
(OUT / "random.onnx").write_bytes(bytes((i * 37 + 11) % 251 for i in range(200)))
(OUT / "empty.onnx").write_bytes(b"")
save("unknown_op.onnx", model([helper.make_node("Frobnicate", ["x"], ["y"], name="frob")]))
save("dynamic.onnx", model([relu], inputs=(("batch", 4),)))
save("mismatch.onnx", model([helper.make_node("MatMul", ["x", "x1"], ["y"], name="mm")], inputs=((2, 3), (4, 5))))
save("undefined.onnx", model([helper.make_node("Add", ["x", "w"], ["y"], name="plus")]))
save(
    "cycle.onnx",
    model([helper.make_node("Relu", ["b"], ["a"], name="one"), helper.make_node("Relu", ["a"], ["b"], name="two")], outputs=("b",)),
)
outside = numpy_helper.from_array(numpy.zeros((1, 4), numpy.float32), "w")
outside.ClearField("raw_data")
outside.data_location = TensorProto.EXTERNAL
outside.external_data.add(key="location", value="../../../../etc/passwd")
save("outside.onnx", model([helper.make_node("Add", ["x", "w"], ["y"], name="plus")], initializers=[outside]))
huge = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40, 1 << 40])
save("overflow.onnx", model([helper.make_node("Add", ["x", "w"], ["y"], name="plus")], initializers=[huge]))
save("opset.onnx", helper.make_model(good.graph, opset_imports=[helper.make_opsetid("", 99)], ir_version=10))
(OUT / "x.npy").write_bytes(b"\x93NUMPY\x01\x00garbage")
numpy.save(OUT / "wrong_shape.npy", numpy.zeros((2, 2), numpy.float32))
(OUT / "negative.toml").write_text("name = \"mine\"\ntarget = \"tsp\"\n[geometry]\nsuperlanes = -4\n")
(OUT / "broken.txt").write_text("tsp program \"m\"\nmachine \"tsp\" \"\"\nqueue mem.w0.read\n  @0 reed 5, e3\n")
(OUT / "small.txt").write_text("tsp program \"m\"\nmachine \"tsp\" \"0123\"\n")
(OUT / "broken_graph.txt").write_text("graph \"g\" {\n  %0 = input : f32[2]\n  %1 = frob %0\n}\n")

# More weights than the small machines hold, without a large file.
shape = numpy_helper.from_array(numpy.array([2048, 2048], numpy.int64), "s")
fill = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.5])
save(
    "large.onnx",
    model(
        [
            helper.make_node("ConstantOfShape", ["s"], ["w"], name="fill", value=fill),
            helper.make_node("MatMul", ["x", "w"], ["y"], name="dense"),
        ],
        inputs=((1, 2048),),
        initializers=[shape],
    ),
)
# Supported by the oracle, by neither machine: 64-bit arithmetic.
double = [
    helper.make_node("Cast", ["x"], ["wide"], name="widen", to=TensorProto.DOUBLE),
    helper.make_node("Tanh", ["wide"], ["bent"], name="bend"),
    helper.make_node("Cast", ["bent"], ["y"], name="narrow", to=TensorProto.FLOAT),
]
save("double.onnx", model(double))
