"""A graph under construction: seeded random weights, nodes with names, the finished model."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


class Network:
    """Weights come from one generator in the order in which they are asked for, so a seed is a model."""

    def __init__(self, name, seed):
        self.name, self.rng = name, np.random.default_rng(seed)
        self.nodes, self.constants, self.inputs = [], [], []

    def input(self, name, shape, dtype=np.float32):
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[np.dtype(dtype)], shape))
        return name

    def constant(self, name, value, dtype=np.float32):
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def normal(self, name, shape, scale, mean=0.0):
        """A tensor of normal numbers."""
        return self.constant(name, mean + self.rng.normal(0, scale, shape))

    def node(self, op, inputs, name, outputs=None, **attributes):
        """Adds a node; the name of its output, or the names if several are wanted."""
        outputs = outputs or [name + "_out"]
        self.nodes.append(helper.make_node(op, inputs, outputs, name, **attributes))
        return outputs[0] if len(outputs) == 1 else outputs

    def model(self, outputs, opset=17):
        """The model; `outputs` maps the value that becomes an output to its name and shape."""
        results = []
        for value, (name, shape) in outputs.items():
            self.node("Identity", [value], f"result/{name}", [name])
            results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        graph = helper.make_graph(self.nodes, self.name, self.inputs, results, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="tests/corpus")
        model.ir_version = 8
        return model
