"""Builds a small BERT encoder with seeded random weights: two layers, width 128, two heads.

It is shaped like what an exporter of today writes (opset 24: `Attention` on packed heads, `Gelu`,
the skip connection and layer norm as a model-local function in `com.microsoft`, position ids from
`Shape` and `Range`, symbolic batch and sequence), so that it exercises the front end as well.
"""

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

LAYERS, WIDTH, HEADS, FEED_FORWARD, VOCABULARY, POSITIONS, TYPES = 2, 128, 2, 512, 1000, 128, 2
EPSILON = 1e-6


def build():
    rng = np.random.default_rng(11)
    nodes, init = [], []

    def weight(name, *shape, scale=None):
        scale = scale if scale is not None else 1 / np.sqrt(shape[-1])
        init.append(numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), name))
        return name

    def vector(name, mean):
        init.append(numpy_helper.from_array((mean + rng.normal(0, 0.02, WIDTH)).astype(np.float32), name))
        return name

    def node(op, inputs, name, outputs=None, **attributes):
        outputs = outputs or [name + "_out"]
        nodes.append(helper.make_node(op, inputs, outputs, name, **attributes))
        return outputs[0]

    def norm(x, skip, name):
        """Layer norm of the sum of two streams."""
        outputs = [f"{name}_{o}" for o in ("out", "mean", "inv_std", "sum")]
        inputs = [x, skip, vector(f"{name}.weight", 1), vector(f"{name}.bias", 0)]
        return node("SkipLayerNormalization", inputs, name, outputs, domain="com.microsoft", epsilon=EPSILON)

    def dense(x, name, n_in, n_out):
        w = node("Transpose", [weight(f"{name}.weight", n_out, n_in)], f"{name}/transpose", perm=[1, 0])
        y = node("MatMul", [x, w], f"{name}/matmul")
        return node("Add", [y, weight(f"{name}.bias", n_out, scale=0.02)], f"{name}/add")

    words = node("Gather", [weight("word_embeddings", VOCABULARY, WIDTH, scale=0.5), "input_ids"], "embeddings/words")
    init.extend(
        [
            numpy_helper.from_array(np.array(0, np.int64), "zero"),
            numpy_helper.from_array(np.array(1, np.int64), "one"),
            numpy_helper.from_array(np.array([0], np.int64), "axis0"),
            numpy_helper.from_array(np.array([1], np.int64), "once"),
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes12"),
        ]
    )
    length = node("Shape", ["input_ids"], "embeddings/length", start=1, end=2)
    length = node("Squeeze", [length, "axis0"], "embeddings/squeeze")
    ids = node("Range", ["zero", length, "one"], "embeddings/range")
    ids = node("Unsqueeze", [ids, "axis0"], "embeddings/unsqueeze")
    table = weight("position_embeddings", POSITIONS, WIDTH, scale=0.1)
    positions = node("Gather", [table, ids], "embeddings/positions")
    table = weight("token_type_embeddings", TYPES, WIDTH, scale=0.1)
    types = node("Gather", [table, "token_type_ids"], "embeddings/types")
    # The additive mask of the keys, spread over the queries.
    batch = node("Shape", ["input_ids"], "mask/batch", start=0, end=1)
    span = node("Shape", ["input_ids"], "mask/length", start=1, end=2)
    shape = node("Concat", [batch, "once", span, span], "mask/shape", axis=0)
    mask = node("Expand", [node("Unsqueeze", ["attention_mask", "axes12"], "mask/unsqueeze"), shape], "mask/expand")
    x = norm(node("Add", [words, positions], "embeddings/add"), types, "embeddings/norm")
    for i in range(LAYERS):
        p = f"layer{i}"
        q, k, v = (dense(x, f"{p}/{part}", WIDTH, WIDTH) for part in ("query", "key", "value"))
        attention = node("Attention", [q, k, v, mask], f"{p}/attention", q_num_heads=HEADS, kv_num_heads=HEADS)
        x = norm(x, dense(attention, f"{p}/output", WIDTH, WIDTH), f"{p}/attention_norm")
        h = node("Gelu", [dense(x, f"{p}/up", WIDTH, FEED_FORWARD)], f"{p}/gelu")
        x = norm(x, dense(h, f"{p}/down", FEED_FORWARD, WIDTH), f"{p}/output_norm")
    node("Identity", [x], "last", ["last_hidden_state"])

    skip_norm = helper.make_function(
        "com.microsoft",
        "SkipLayerNormalization",
        ["input", "skip", "weight", "bias"],
        ["norm", "mean", "inv_std", "sum"],
        [
            helper.make_node("Add", ["input", "skip"], ["sum"]),
            helper.make_node("LayerNormalization", ["sum", "weight", "bias"], ["norm", "mean", "inv_std"]),
        ],
        [helper.make_opsetid("", 24)],
        ["epsilon"],
    )
    # The epsilon of the call reaches the inner node by reference.
    reference = helper.make_attribute_ref("epsilon", AttributeProto.FLOAT)
    skip_norm.node[1].attribute.append(reference)
    tokens = ["batch", "sequence"]
    graph = helper.make_graph(
        nodes,
        "bert-tiny",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
            helper.make_tensor_value_info("attention_mask", TensorProto.FLOAT, ["batch", "sequence"]),
            helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, tokens),
        ],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*tokens, WIDTH])],
        init,
    )
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[skip_norm], producer_name="bert_tiny.py")
    model.ir_version = 11
    inputs = {
        "input_ids": rng.integers(0, VOCABULARY, (1, 64)),
        "attention_mask": np.zeros((1, 64), np.float32),
        "token_type_ids": rng.integers(0, TYPES, (1, 64)),
    }
    # The last ten tokens are padding.
    inputs["attention_mask"][:, 54:] = -1e4
    return model, inputs
