"""Attention in ONNX Runtime's variants."""

import numpy as np
from cases import Case, both_precisions, fixed

B, S, H, D = 2, 4, 3, 8
W = H * D


def cases(rng):
    def n(*shape, scale=1.0):
        return rng.normal(0, scale, shape).astype(np.float32)

    yield from packed(rng, n)
    yield from multi_head(rng, n)
    yield from grouped(rng, n)


def packed(rng, n):
    """`Attention`: one product makes queries, keys and values."""
    x, w, bias = n(B, S, 16), fixed(n(16, 3 * W, scale=0.25)), fixed(n(3 * W, scale=0.1))

    def case(name, extra=(), operands=(), attributes=None, outputs=(True,), x=x, w=w, bias=bias):
        return Case(f"attention_{name}", "Attention", [x, w, bias, *operands], {"num_heads": H, **(attributes or {})}, outputs)

    raw = (np.arange(S) < np.array([[2], [4]])).astype(np.int32)
    yield case("plain")
    yield case("causal", attributes={"unidirectional": 1})
    yield case("scale", attributes={"scale": 0.5})
    yield case("raw_mask", operands=[raw])
    yield case("raw_mask_filter", operands=[raw], attributes={"mask_filter_value": -100.0})
    yield case("key_lengths", operands=[np.array([2, 4], np.int32)])
    yield case("key_ends", operands=[np.array([3, 4, 1, 0], np.int32)])
    yield case("mask_3d", operands=[np.tril(np.ones((B, S, S), np.int32))])
    past = n(2, B, H, 3, D)
    yield case("past", operands=[None, past], outputs=(True, True))
    yield case("past_causal", operands=[None, past], attributes={"unidirectional": 1}, outputs=(True, True))
    long = (np.arange(S + 3) < np.array([[5], [7]])).astype(np.int32)
    yield case("past_mask", operands=[long, past], attributes={"unidirectional": 1}, outputs=(True, True))
    yield case("bias", operands=[None, None, n(B, H, S, S)])
    yield case("bias_broadcast", operands=[None, None, n(1, H, S, S)])
    sizes = {"qkv_hidden_sizes": [24, 24, 12]}
    yield case("sizes", attributes=sizes, w=fixed(n(16, 60, scale=0.25)), bias=fixed(n(60, scale=0.1)))
    yield case("no_bias", bias=None)


def multi_head(rng, n):
    """`MultiHeadAttention`: queries, keys and values come apart."""
    q, k, v = n(B, S, W), n(B, 5, W), n(B, 5, W)

    def case(name, operands, attributes=None, outputs=(True,)):
        return Case(f"mha_{name}", "MultiHeadAttention", operands, {"num_heads": H, **(attributes or {})}, outputs)

    yield from both_precisions("mha_plain", "MultiHeadAttention", [q, k, v], {"num_heads": H})
    yield case("bias", [q, k, v, fixed(n(3 * W, scale=0.2))])
    yield case("scale", [q, k, v], {"scale": 0.2})
    yield case("values", [q, k, n(B, 5, H * 4)])
    mask = (np.arange(5) < np.array([[2], [5]])).astype(np.int32)
    yield case("padding", [q, k, v, None, mask])
    yield case("padding_3d", [q, k, v, None, np.broadcast_to(mask[:, None], (B, S, 5)).copy()])
    yield case("key_lengths", [q, k, v, None, np.array([2, 5], np.int32)])
    yield case("attention_bias", [q, k, v, None, None, n(B, H, S, 5)])
    yield case("attention_bias_broadcast", [q, k, v, None, None, n(1, 1, S, 5)])
    own_k, own_v = n(B, S, W), n(B, S, W)
    yield case("causal", [q, own_k, own_v], {"unidirectional": 1})
    yield case("split_keys", [q, n(B, H, 5, D), n(B, H, 5, D)])
    past = [n(B, H, 3, D), n(B, H, 3, D)]
    present = (True, True, True)
    yield case("past", [q, own_k, own_v, None, None, None, *past], outputs=present)
    yield case("past_causal", [q, own_k, own_v, None, None, None, *past], {"unidirectional": 1}, present)


def grouped(rng, n):
    """`GroupQueryAttention`: causal, with a cache that may be longer than what it holds."""
    heads, kv, size, total = 4, 2, 16, 9
    tables = [fixed(f(np.outer(np.arange(16), 1.0 / 100 ** (np.arange(8) / 8))).astype(np.float32)) for f in (np.cos, np.sin)]
    present = (True, True, True)

    def case(name, length, past, lengths, total, attributes=None, rope=False, extra=(), packed=False, static=True, outputs=present):
        q, k, v = n(B, length, heads * size), n(B, length, kv * size), n(B, length, kv * size)
        caches = [n(B, kv, past, size), n(B, kv, past, size)] if past is not None else [None, None]
        operands = [np.concatenate([q, k, v], 2), None, None] if packed else [q, k, v]
        ends = np.array(lengths, np.int32) - 1
        operands += [*caches, fixed(ends) if static else ends, fixed(np.array(total, np.int32))]
        operands += tables if rope else ([None, None] if extra else [])
        attributes = {"num_heads": heads, "kv_num_heads": kv, **({"do_rotary": 1} if rope else {}), **(attributes or {})}
        return both_precisions(f"gqa_{name}", "GroupQueryAttention", [*operands, *extra], attributes, outputs)

    yield from case("prompt", 5, 0, [5, 5], 5)
    yield from case("prompt_none", 5, None, [5, 5], 5)
    yield from case("prompt_rope", 5, 0, [5, 5], 5, rope=True)
    yield from case("prompt_packed", 5, 0, [5, 5], 5, rope=True, packed=True)
    yield from case("step", 1, total - 1, [total, total], total)
    yield from case("step_rope", 1, total - 1, [total, total], total, rope=True)
    yield from case("step_interleaved", 1, total - 1, [total, total], total, {"rotary_interleaved": 1}, rope=True)
    yield from case("step_input", 1, total - 1, [total, total], total, rope=True, static=False)
    # What the caches hold behind the shorter sequence is not defined.
    uneven = {"rope": True, "static": False, "outputs": (True, None, None)}
    yield from case("step_uneven", 1, total - 1, [total, 6], total, **uneven)
    yield from case("window", 5, 0, [5, 5], 5, {"local_window_size": 2})
    yield from case("step_window", 1, total - 1, [total, total], total, {"local_window_size": 3})
    yield from case("softcap", 5, 0, [5, 5], 5, {"softcap": 2.0, "scale": 0.3})
    yield from case("smooth", 5, 0, [5, 5], 5, {"smooth_softmax": 1})
