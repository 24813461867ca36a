"""Fused float operators of ONNX Runtime."""

import numpy as np
from cases import Case, both_precisions, fixed


def cases(rng):
    def n(*shape, scale=1.0):
        return rng.normal(0, scale, shape).astype(np.float32)

    x, bias = n(2, 3, 8), fixed(n(8))
    yield from both_precisions("gelu", "Gelu", [x])
    yield from both_precisions("bias_gelu", "BiasGelu", [x, bias])
    yield from both_precisions("fast_gelu", "FastGelu", [x])
    yield from both_precisions("fast_gelu_bias", "FastGelu", [x, bias])
    yield from both_precisions("quick_gelu", "QuickGelu", [x])
    yield from both_precisions("quick_gelu_alpha", "QuickGelu", [x], {"alpha": 1.0})

    gamma, beta = fixed(n(8) + 1), fixed(n(8))
    for name, op, extra in (
        ("skip_layer_norm", "SkipLayerNormalization", [gamma, beta]),
        ("skip_layer_norm_no_beta", "SkipLayerNormalization", [gamma]),
        ("skip_layer_norm_bias", "SkipLayerNormalization", [gamma, beta, bias]),
        ("skip_rms_norm", "SkipSimplifiedLayerNormalization", [gamma]),
        ("skip_rms_norm_bias", "SkipSimplifiedLayerNormalization", [gamma, bias]),
    ):
        outputs = (True, False, False, True)
        yield from both_precisions(name, op, [x, n(2, 3, 8), *extra], {"epsilon": 1e-5}, outputs)
    # One skip for all the batch.
    yield Case("skip_layer_norm_broadcast", "SkipLayerNormalization", [x, n(1, 3, 8), gamma, beta])
    # ONNX Runtime keeps these two in the standard domain.
    yield Case("rms_norm_standard", "SimplifiedLayerNormalization", [x, gamma], {"axis": -1, "stash_type": 1}, domain="")
    layer_norm = {"axis": -1, "epsilon": 1e-5}
    yield Case("layer_norm_opset_11", "LayerNormalization", [x, gamma, beta], layer_norm, domain="", opset=11)

    ids = rng.integers(0, 11, (2, 5)).astype(np.int32)
    kinds = rng.integers(0, 2, (2, 5)).astype(np.int32)
    mask = (np.arange(5) < np.array([[3], [5]])).astype(np.int32)
    tables = [fixed(n(11, 8)), fixed(n(6, 8)), fixed(n(2, 8))]
    yield Case("embed_layer_norm", "EmbedLayerNormalization", [ids, kinds, *tables, gamma, beta], {}, (True, True))
    yield Case("embed_layer_norm_mask", "EmbedLayerNormalization", [ids, kinds, *tables, gamma, beta, mask], {}, (True, True))
    one_table = [ids, None, *tables[:2], None, gamma, beta]
    yield Case("embed_layer_norm_one", "EmbedLayerNormalization", one_table, {"epsilon": 1e-5}, (True, True))
    position = np.array([[4, 3, 2, 1, 0]], np.int32)
    own = [ids, kinds, *tables, gamma, beta, None, position]
    yield Case("embed_layer_norm_position", "EmbedLayerNormalization", own, {}, (True, False, True))

    yield Case("fused_matmul", "FusedMatMul", [n(2, 3, 4), n(2, 4, 5)], {"alpha": 0.5})
    yield Case("fused_matmul_trans_a", "FusedMatMul", [n(2, 4, 3), n(2, 4, 5)], {"transA": 1})
    yield Case("fused_matmul_trans_b", "FusedMatMul", [n(2, 3, 4), n(2, 5, 4)], {"transB": 1, "alpha": 0.25})
    yield Case("transpose_matmul", "TransposeMatMul", [n(2, 4, 3), n(2, 4, 5)], {"transA": 1})
    yield Case("fused_matmul_broadcast", "FusedMatMul", [n(2, 2, 3, 4), n(4, 5)], {})
    yield Case("fused_matmul_batch_a", "FusedMatMul", [n(3, 2, 4), n(2, 4, 5)], {"transBatchA": 1})
    yield Case("fused_matmul_batch_b", "FusedMatMul", [n(2, 3, 4), n(4, 2, 5)], {"transBatchB": 1})
    both = {"transBatchA": 1, "transBatchB": 1, "transA": 1, "transB": 1}
    yield Case("fused_matmul_batch_all", "FusedMatMul", [n(4, 2, 2, 3), n(5, 2, 2, 4)], both)

    image, kernel, channel = n(1, 4, 6, 6), fixed(n(5, 4, 3, 3)), fixed(n(5))
    for name, params in (
        ("Relu", []),
        ("Tanh", []),
        ("Sigmoid", []),
        ("LeakyRelu", [0.1]),
        ("Clip", [-0.5, 0.75]),
        ("HardSigmoid", [0.2, 0.4]),
    ):
        attributes = {"activation": name, "pads": [1] * 4, **({"activation_params": params} if params else {})}
        yield Case(f"fused_conv_{name.lower()}", "FusedConv", [image, kernel, channel], attributes)
    sum_attributes = {"activation": "Relu", "strides": [2, 2]}
    yield Case("fused_conv_sum", "FusedConv", [image, kernel, channel, n(1, 5, 2, 2)], sum_attributes)
    for name, params in (("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Sigmoid", {})):
        attributes = {"activation": name, "transB": 1, "alpha": 0.5, "beta": 2.0, **params}
        yield Case(f"fused_gemm_{name.lower()}", "FusedGemm", [n(3, 4), fixed(n(5, 4)), fixed(n(5))], attributes)

    cos, sin = (fixed(f(np.outer(np.arange(10), 1.0 / 100 ** (np.arange(4) / 4))).astype(np.float32)) for f in (np.cos, np.sin))
    start = np.array([2], np.int64)
    places = np.array([[0, 1, 2], [5, 6, 7]], np.int64)
    for name, operand, ids, attributes in (
        ("rotary", n(2, 3, 16), places, {}),
        ("rotary_offset", n(2, 3, 16), start, {}),
        ("rotary_interleaved", n(2, 3, 16), places, {"interleaved": 1}),
        ("rotary_heads", n(2, 2, 3, 8), places, {}),
        ("rotary_scale", n(2, 2, 3, 8), start, {"scale": 1.0}),
        ("rotary_partial", n(2, 2, 3, 16), places, {"num_heads": 2, "rotary_embedding_dim": 8}),
    ):
        yield from both_precisions(name, "RotaryEmbedding", [operand, ids, cos, sin], attributes)

    yield Case("trilu", "Trilu", [n(2, 4, 4), fixed(1, np.int64)], {"upper": 0})
    for bits, block in ((4, 16), (4, 32), (8, 16)):
        packed = rng.integers(0, 256, (6, 48 // block + (48 % block > 0), block * bits // 8)).astype(np.uint8)
        scales = np.abs(n(6 * packed.shape[1])) / 8 + np.float32(0.01)
        attributes = {"K": 48, "N": 6, "bits": bits, "block_size": block}
        yield Case(f"matmul_{bits}_bits_{block}", "MatMulNBits", [n(2, 3, 48), fixed(packed), fixed(scales)], attributes)
        row = packed.shape[1] if bits == 8 else (packed.shape[1] + 1) // 2
        zeros = rng.integers(0, 256, 6 * row).astype(np.uint8)
        operands = [n(2, 3, 48), fixed(packed), fixed(scales), fixed(zeros), None, fixed(n(6))]
        yield Case(f"matmul_{bits}_bits_{block}_zero", "MatMulNBits", operands, attributes)
