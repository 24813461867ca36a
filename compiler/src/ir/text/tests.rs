//! Round trips, errors and their places.

use super::*;
use crate::ir::arbitrary::{Config, Rng, graph};
use crate::ir::{DType, Graph, Op, Tensor, TensorType, Unary};

#[test]
fn random_graphs_come_back_the_same() {
    for seed in 0..1000 {
        let mut rng = Rng::new(seed);
        let g = graph(&mut rng, &Config { empty: seed % 3 == 0, nodes: 12, ..Config::default() });
        let text = print(&g);
        let back = parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert!(back == g, "seed {seed}\n{text}\n{}", print(&back));
    }
}

#[test]
fn every_bit_pattern_comes_back() {
    let mut g = Graph::new("bits \u{7} \"quoted\" \\ é");
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for part in halves.chunks(26) {
        for dtype in [DType::F16, DType::BF16] {
            g.add_const("", Tensor::new(dtype, vec![part.len() / 2], part.to_vec()).unwrap());
        }
    }
    for bits in [0u32, 1, 0x8000_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC0_0000, 0x7F80_0001, 0x3DCC_CCCD] {
        g.add_const("f32", Tensor::new(DType::F32, vec![1], bits.to_le_bytes().to_vec()).unwrap());
        let wide = u64::from(bits) << 32 | 5;
        g.add_const("f64", Tensor::new(DType::F64, vec![1], wide.to_le_bytes().to_vec()).unwrap());
        g.add_const("u64", Tensor::new(DType::U64, vec![1], wide.to_le_bytes().to_vec()).unwrap());
        g.add_const("i64", Tensor::new(DType::I64, vec![1], wide.to_le_bytes().to_vec()).unwrap());
    }
    assert!(parse(&print(&g)).unwrap() == g);
}

#[test]
fn odd_origin_tables_come_back() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::new(DType::F32, [2]));
    let names: Vec<_> = ["unused", "twice", "twice"].map(|n| g.push_origin(n)).to_vec();
    let a = g.add_node(Op::Unary(Unary::Neg), &[x], names[2]).unwrap();
    let b = g.add_node(Op::Unary(Unary::Neg), &[a], names[1]).unwrap();
    g.add_output("y", b);
    let text = print(&g);
    assert!(text.contains("origins [\"unused\", \"twice\", \"twice\"]") && text.contains("from @2"), "{text}");
    assert!(parse(&text).unwrap() == g);
}

#[test]
fn written_by_hand() {
    let g = parse(
        "; a comment\ngraph \"hand\" { %x = input : f32[2x3] as \"x\"\n %two = const [2] : f32[]\n\
         %y.1 = mul %x, %two ; no type, no origin\n %t = transpose %y.1 {perm=[1, 0]}\n output \"y\" = %t }",
    )
    .unwrap();
    insta::assert_snapshot!(print(&g), @r#"
    graph "hand" {
      %0 = input : f32[2x3] as "x"
      %1 = const [2.0] : f32[]
      %2 = mul %0, %1 : f32[2x3] from "mul_0"
      %3 = transpose %2 {perm=[1, 0]} : f32[3x2] from "transpose_1"
      output "y" = %3
    }
    "#);
}

#[test]
fn outlines_leave_large_constants_out() {
    let mut g = Graph::new("g");
    let values: Vec<f32> = (0..20).map(|i| i as f32).collect();
    g.add_const("w", Tensor::from_f32(&[20], &values));
    let text = print_outline(&g);
    assert!(text.contains("const elided "), "{text}");
    let e = parse(&text).unwrap_err();
    assert_eq!((e.line, e.column), (2, 14), "{e}");
}

#[test]
fn errors_say_where_and_what() {
    let body = |line: &str| format!("graph \"g\" {{\n  %x = input : f32[2x3] as \"x\"\n  {line}\n}}");
    let error = |line: &str| parse(&body(line)).expect_err(line).to_string();
    let cases = [
        ("%y = neg %z", "line 3, column 12: %z is not defined above"),
        ("%y = nag %x", "line 3, column 8: unknown operation `nag`"),
        ("%x = neg %x", "line 3, column 3: %x is defined twice"),
        ("%y = neg %x : f32[3]", "line 3, column 15: the operands give f32[2x3], but f32[3] is written here"),
        ("%y = neg %x, %x", "line 3, column 8: neg: takes 1 operands, got 2"),
        ("%y = softmax %x", "line 3, column 8: the attribute `axis` is missing"),
        ("%y = softmax %x {axis=1, axis=0}", "line 3, column 8: `softmax` has no attribute `axis`, or has it twice"),
        ("%y = softmax %x {axis=one}", "line 3, column 8: `axis` is a number, not `one`"),
        ("%y = reshape %x", "line 3, column 8: `reshape` needs its result type written out"),
        ("%c = const [1, two] : i8[2]", "line 3, column 18: `two` is no i8"),
        ("%c = const [1, 2] : i8[3]", "line 3, column 8: i8[3] has 3 elements, but 2 are written"),
        ("%c = const splat 300 : u8[3]", "line 3, column 20: `300` is no u8"),
        (
            "%c = const splat 0 : u8[1000000x1000000]",
            "line 3, column 20: a splat of u8[1000000x1000000] exceeds 1073741824 bytes",
        ),
        ("%c = const base64 \"?\" : u8[1]", "line 3, column 21: this is not base64"),
        ("%c = input : f33[1]", "line 3, column 16: `f33` is no element type"),
        ("%c = input : f32[1x-2]", "line 3, column 20: `-2` is no extent"),
        ("%c = input : f32[99999999999x99999999999]", "line 3, column 16: f32[99999999999x99999999999] is too large"),
        ("%y = neg %x from @0", "line 3, column 20: @0 is not in the table of origins"),
        ("%y = neg %x from \"a\nb\"", "line 3, column 20: the string does not end on its line"),
        ("output \"y\" = %y", "line 3, column 16: %y is not defined above"),
        ("%y = neg %x from \"\\q\"", "line 3, column 21: unknown escape; known are \\\", \\\\ and \\u{…}"),
        ("?", "line 3, column 3: unexpected character '?'"),
    ];
    for (line, want) in cases {
        assert_eq!(error(line), want, "{line}");
    }
    assert_eq!(
        parse("graph \"g\" {").unwrap_err().to_string(),
        "line 1, column 12: expected a value, an output or `}`, found the end of the text"
    );
}

#[test]
fn mutilated_texts_are_errors_or_graphs_never_panics() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let text = print(&graph(&mut rng, &Config::default()));
        let mut bytes = text.clone().into_bytes();
        for _ in 0..rng.range(1, 4) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] = rng.pick(b"0123456789[]{}%\"=,:x-e "),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.pick(b"0123456789[]{}%\"=,:x-e ")),
            }
        }
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }
}
