"""Quantised operators of ONNX Runtime. The scales are no round numbers: those would make quotients that lie just
between two integers, where the last bit of a float decides."""

import numpy as np
from cases import Case, fixed


def cases(rng):
    def n(*shape, scale=1.0):
        return rng.normal(0, scale, shape).astype(np.float32)

    def q(shape, dtype=np.uint8):
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max + 1, shape).astype(dtype)

    def weights(*shape):
        """Small enough that no two products exceed 16 bits, where kernels for processors without VNNI saturate."""
        return rng.integers(-64, 64, shape).astype(np.int8)

    def s(v):
        return fixed(np.float32(v))

    def z(v, dtype=np.uint8):
        return fixed(np.array(v, dtype))

    for dtype, zeros in ((np.uint8, (120, 130, 110)), (np.int8, (-5, 3, 7))):
        kind = np.dtype(dtype).name
        za, zb, zy = (z(v, dtype) for v in zeros)
        a, b = q((2, 3, 4, 5), dtype), q((2, 3, 4, 5), dtype)
        for name, op in (("add", "QLinearAdd"), ("mul", "QLinearMul")):
            out = s(0.05171) if name == "add" else s(0.1123)
            operands = [a, s(0.02137), za, b, s(0.03319), zb, out, zy]
            yield Case(f"qlinear_{name}_{kind}", op, operands)
            operands[3] = fixed(q((3, 1, 1), dtype))
            yield Case(f"qlinear_{name}_broadcast_{kind}", op, operands)
        for name, op, attributes in (
            ("leaky_relu", "QLinearLeakyRelu", {"alpha": 0.1}),
            ("sigmoid", "QLinearSigmoid", {}),
        ):
            scale = s(1 / 256) if name == "sigmoid" else s(0.03083)
            yield Case(f"qlinear_{name}_{kind}", op, [a, s(0.04093), za, scale, z(np.iinfo(dtype).min, dtype)], attributes)
        softmax = {"axis": 3, "opset": 13}
        operands = [a, s(0.04093), za, s(1 / 256), z(np.iinfo(dtype).min, dtype)]
        yield Case(f"qlinear_softmax_{kind}", "QLinearSoftmax", operands, softmax)
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        yield Case(f"qlinear_average_pool_{kind}", "QLinearAveragePool", [a, s(0.04093), za, s(0.03527), zb], pool)
        padded = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}
        yield Case(f"qlinear_average_pool_pad_{kind}", "QLinearAveragePool", [a, s(0.04093), za, s(0.03527), zb], padded)
        yield Case(f"qlinear_global_pool_{kind}", "QLinearGlobalAveragePool", [a, s(0.04093), za, s(0.02071), zb])
        last = {"channels_last": 1}
        yield Case(f"qlinear_global_pool_last_{kind}", "QLinearGlobalAveragePool", [a, s(0.04093), za, s(0.02071), zb], last)
        concat = [s(0.05171), zy, a, s(0.02137), za, b, s(0.03319), zb]
        yield Case(f"qlinear_concat_{kind}", "QLinearConcat", concat, {"axis": 1})
        cond = rng.integers(0, 2, (4, 1)).astype(bool)
        yield Case(f"qlinear_where_{kind}", "QLinearWhere", [cond, *concat[2:], *concat[:2]])
        gemm = [q((3, 4), dtype), s(0.02137), za, fixed(weights(5, 4)), fixed(np.abs(n(5, scale=0.01)) + np.float32(0.01))]
        gemm += [fixed(np.zeros(5, np.int8)), fixed(rng.integers(-99, 99, 5).astype(np.int32))]
        attributes = {"transB": 1, "alpha": 1.0}
        yield Case(f"qgemm_float_{kind}", "QGemm", gemm, attributes)
        yield Case(f"qgemm_{kind}", "QGemm", [*gemm, s(0.05171), zy], attributes)

    x, w = n(2, 3, 16), weights(16, 6)
    scale, zero, bias = np.float32(0.02), np.int8(3), n(6)
    columns = fixed(np.abs(n(6, scale=0.01)) + np.float32(0.01))
    yield Case("dynamic_quantize_matmul", "DynamicQuantizeMatMul", [x, fixed(w), fixed(scale)])
    yield Case("dynamic_quantize_matmul_zero", "DynamicQuantizeMatMul", [x, fixed(w), fixed(scale), fixed(zero)])
    per_column = [x, fixed(w), columns, fixed(np.zeros(6, np.int8)), fixed(bias)]
    yield Case("dynamic_quantize_matmul_columns", "DynamicQuantizeMatMul", per_column)
    operands = [q((2, 3, 16)), fixed(w), s(0.03083), fixed(scale), z(128), fixed(zero)]
    yield Case("matmul_integer_to_float", "MatMulIntegerToFloat", operands)
    operands = [q((2, 3, 16)), fixed(w), s(0.03083), columns, z(128), fixed(np.zeros(6, np.int8)), fixed(bias)]
    yield Case("matmul_integer_to_float_bias", "MatMulIntegerToFloat", operands)
    yield Case("quantize_linear", "QuantizeLinear", [n(3, 4), s(0.02071), z(1000, np.uint16)])
    yield Case("dequantize_linear", "DequantizeLinear", [q((3, 4), np.int16), s(0.02071), z(-20, np.int16)])

    def lstm(name, directions, batch, per_column=False, time=4, features=5, hidden=6, **more):
        matrices = []
        for rows in (features, hidden):
            shape = (directions, 4 * hidden) if per_column else (directions,)
            scales = (0.01 + np.abs(rng.normal(0, 0.01, shape))).astype(np.float32)
            matrices.append((weights(directions, rows, 4 * hidden), scales, np.zeros(shape, np.int8)))
        (w, ws, wz), (r, rs, rz) = matrices
        bias = n(directions, 8 * hidden, scale=0.3)
        state = [n(directions, batch, hidden) for _ in range(2)]
        lengths = more.pop("lengths", None)
        operands = [n(time, batch, features), fixed(w), fixed(r), fixed(bias), lengths, *state, None]
        operands += [fixed(v) for v in (ws, wz, rs, rz)]
        direction = {"direction": "bidirectional"} if directions == 2 else {}
        attributes = {"hidden_size": hidden, **direction, **more}
        return Case(name, "DynamicQuantizeLSTM", operands, attributes, (True, True, True))

    yield lstm("dynamic_quantize_lstm", 1, 1)
    yield lstm("dynamic_quantize_lstm_columns", 1, 1, per_column=True)
    yield lstm("dynamic_quantize_lstm_both", 2, 1)
    yield lstm("dynamic_quantize_lstm_reverse", 1, 1, direction="reverse")

    conv = [q((1, 4, 5, 5)), s(0.02071), z(120), fixed(weights(6, 4, 3, 3)), fixed(np.full(6, 0.01, np.float32))]
    conv += [fixed(np.zeros(6, np.int8)), s(0.06217), z(100), fixed(rng.integers(-999, 999, 6).astype(np.int32))]
    yield Case("qlinear_conv", "QLinearConv", conv, {"pads": [1] * 4}, domain="")
    last = [q((1, 5, 5, 4)), *conv[1:]]
    yield Case("qlinear_conv_channels_last", "QLinearConv", last, {"pads": [1] * 4, "channels_last": 1})
    integer = [q((2, 3, 16)), fixed(w), z(100), fixed(np.array(0, np.int8))]
    yield Case("matmul_integer_mixed", "MatMulInteger", integer, domain="")
    convolution = [q((1, 4, 5, 5)), fixed(q((6, 4, 3, 3))), z(120), z(128)]
    yield Case("conv_integer_stride", "ConvInteger", convolution, {"strides": [2, 2], "pads": [0, 1, 1, 0]}, domain="")
    yield from attention(rng, n, q, weights, s, z)
    yield from embedding(n, q, s, z)


def attention(rng, n, q, weights, s, z):
    """`QAttention`: the projection is a product of integers."""
    batch, length, heads, size = 2, 4, 3, 8
    width = 3 * heads * size
    columns = fixed(np.abs(n(width, scale=0.01)) + np.float32(0.01))

    def case(name, weight_scale=s(0.0137), mask=None, zero=fixed(np.array(0, np.int8)), past=None, attributes=None):
        operands = [q((batch, length, 16)), fixed(weights(16, width)), fixed(n(width, scale=0.1)), s(0.00831), weight_scale]
        outputs = (True, True) if past is not None else (True,)
        more = {"num_heads": heads, **(attributes or {})}
        return Case(f"qattention_{name}", "QAttention", [*operands, mask, z(121), zero, past], more, outputs)

    yield case("plain")
    yield case("weight_zero", zero=fixed(np.array(5, np.int8)))
    yield case("columns", weight_scale=columns, zero=fixed(np.zeros(width, np.int8)))
    yield case("causal", attributes={"unidirectional": 1})
    yield case("mask", mask=(np.arange(length) < np.array([[2], [4]])).astype(np.int32))
    yield case("key_lengths", mask=np.array([2, 4], np.int32))
    yield case("past", past=n(2, batch, heads, 3, size), attributes={"unidirectional": 1})


def embedding(n, q, s, z):
    """`QEmbedLayerNormalization`: tables of bytes."""
    ids, kinds = np.array([[3, 0, 9, 1], [2, 2, 7, 5]], np.int32), np.array([[0, 0, 1, 1], [1, 0, 0, 1]], np.int32)
    tables = [fixed(q((10, 16))), fixed(q((6, 16))), fixed(q((2, 16))), fixed(q((16,))), fixed(q((16,)))]
    scales = [s(v) for v in (0.0213, 0.0117, 0.0191, 0.0079, 0.0053)]
    zeros = [z(v) for v in (128, 117, 130, 96, 120)]
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], np.int32)
    both = (True, True)
    name = "QEmbedLayerNormalization"
    yield Case("qembed_layer_norm", name, [ids, kinds, *tables, mask, *scales, *zeros], {"epsilon": 1e-5}, both)
    tables, scales, zeros = ([*v[:2], None, *v[3:]] for v in (tables, scales, zeros))
    yield Case("qembed_layer_norm_no_segments", name, [ids, None, *tables, None, *scales, *zeros], outputs=both)
