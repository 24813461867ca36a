"""Cuts a quantised model at every quantisation, so that each step can be judged by itself.

Rounding differences of whole quantised networks grow from layer to layer: two sets of kernels of ONNX
Runtime differ in a tenth of the final elements. In the cut model every integer activation is an input,
given ONNX Runtime's value, and every quantised result an output: nothing grows, and what differs is the
rounding of one step.
"""

import numpy as np
from onnx import ModelProto, helper


def cut(model, run):
    """The cut model, its inputs and its outputs; `run(model, names)` computes values of the original.
    None for a model that quantises nothing."""
    made = [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    if not made:
        return None
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in made)
    values = dict(zip(made, run(probe.SerializeToString(), made)))
    parts = ModelProto()
    parts.CopyFrom(model)
    del parts.graph.output[:]
    del parts.graph.value_info[:]
    outputs = {}
    for n in parts.graph.node:
        if n.op_type == "QuantizeLinear":
            name, value = n.output[0], values[n.output[0]]
            n.output[0] = f"{name}/made"
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            parts.graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
            parts.graph.output.append(helper.make_tensor_value_info(n.output[0], kind, value.shape))
            outputs[n.output[0]] = np.asarray(value)
    return parts, values, outputs
