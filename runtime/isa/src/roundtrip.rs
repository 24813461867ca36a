//! Property tests over both program forms: what is written is read back, and no bytes and no
//! text make a reader panic.

use crate::container::{self, AnyProgram};
use crate::{strategy, tsp, wafer};
use bytes::Bytes;
use proptest::prelude::*;

/// Readers must survive a damaged program, whichever way they find it damaged. What they do
/// accept must be printable and readable again.
fn survives(bytes: Vec<u8>) {
    if let Ok(p) = container::read(&Bytes::from(bytes)) {
        let text = p.print();
        assert_eq!(AnyProgram::parse(&text).expect("what was read can be printed and parsed"), p);
    }
}

fn damage(mut bytes: Vec<u8>, flips: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) -> Vec<u8> {
    // Pages are mostly padding: most damage goes to bytes that mean something.
    let live: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] != 0 || i % 4096 < 512).collect();
    for (at, mask) in flips {
        let i = live[at.index(live.len())];
        bytes[i] ^= (*mask).max(1);
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn flips() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)> {
    (
        prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..6),
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
    )
}

proptest! {
    #[test]
    fn tsp_text_round_trips(p in strategy::tsp_program()) {
        let text = tsp::text::print(&p);
        prop_assert_eq!(tsp::text::parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?, p);
    }

    #[test]
    fn wafer_text_round_trips(p in strategy::wafer_program()) {
        let text = wafer::text::print(&p);
        prop_assert_eq!(wafer::text::parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?, p);
    }

    #[test]
    fn tsp_container_round_trips(p in strategy::tsp_program()) {
        let p = AnyProgram::Tsp(p);
        let bytes = Bytes::from(container::write(&p).unwrap());
        prop_assert_eq!(container::read(&bytes).unwrap(), p);
    }

    #[test]
    fn wafer_container_round_trips(p in strategy::wafer_program()) {
        let p = AnyProgram::Wafer(p);
        let bytes = Bytes::from(container::write(&p).unwrap());
        prop_assert_eq!(container::read(&bytes).unwrap(), p);
    }

    #[test]
    fn queue_text_round_trips(issues in strategy::tsp_issues()) {
        let bytes = tsp::binary::encode(tsp::QueueId::Vxm(0), &issues).unwrap();
        let decoded = tsp::binary::decode(&bytes).unwrap();
        let expected: Vec<_> =
            issues.iter().map(|i| tsp::binary::Timed { cycle: i.cycle, inst: i.inst.clone(), repeat: i.repeat }).collect();
        prop_assert_eq!(decoded, expected);
        // The size that the compiler budgets is the size that is written.
        let mut p = tsp::Program::default();
        p.queues.insert(tsp::QueueId::Vxm(0), issues);
        prop_assert_eq!(p.text_bytes(16), bytes.len() as u64);
    }

    #[test]
    fn any_words_decode_or_are_refused(words in prop::collection::vec((0u8..0x60, any::<[u8; 15]>(), 0usize..16), 0..6)) {
        let bytes: Vec<u8> = words
            .into_iter()
            .flat_map(|(op, mut rest, zeros)| {
                rest[15 - zeros.min(15)..].fill(0);
                std::iter::once(op).chain(rest)
            })
            .collect();
        if let Ok(timed) = tsp::binary::decode(&bytes) {
            let issues: Vec<_> = timed
                .into_iter()
                .map(|t| tsp::Issue { cycle: t.cycle, inst: t.inst, repeat: t.repeat, node: tsp::NodeIx(0) })
                .collect();
            // Only what the encoder can write is accepted.
            prop_assert_eq!(tsp::binary::encode(tsp::QueueId::Vxm(0), &issues).unwrap(), bytes);
        }
    }

    #[test]
    fn damaged_tsp_containers_are_survived(p in strategy::tsp_program(), (f, cut) in flips()) {
        survives(damage(container::write(&AnyProgram::Tsp(p)).unwrap(), &f, cut));
    }

    #[test]
    fn damaged_wafer_containers_are_survived(p in strategy::wafer_program(), (f, cut) in flips()) {
        survives(damage(container::write(&AnyProgram::Wafer(p)).unwrap(), &f, cut));
    }

    #[test]
    fn damaged_text_is_survived(p in strategy::tsp_program(), w in strategy::wafer_program(), at in any::<[prop::sample::Index; 2]>(), insert in "[-0-9a-z_.\"@;:#\\[\\]xp ]{0,3}") {
        for text in [tsp::text::print(&p), wafer::text::print(&w)] {
            let chars: Vec<char> = text.chars().collect();
            let i = at[0].index(chars.len());
            let j = (i + at[1].index(4)).min(chars.len());
            let damaged: String = chars[..i].iter().copied().chain(insert.chars()).chain(chars[j..].iter().copied()).collect();
            let _ = AnyProgram::parse(&damaged);
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(container::read(&Bytes::from(bytes)).is_err());
    }
}

#[test]
fn the_image_is_not_copied() {
    let mut p = tsp::Program::default();
    let slice = tsp::Slice { hemisphere: tsp::Hemisphere::West, index: 3 };
    p.image.push(tsp::ImageSegment { value: tsp::ValueIx(0), slice, addr: 0, words: vec![7u8; 640].into() });
    let bytes = Bytes::from(container::write(&AnyProgram::Tsp(p)).unwrap());
    let AnyProgram::Tsp(read) = container::read(&bytes).unwrap() else { panic!("target changed") };
    assert!(bytes.as_ptr_range().contains(&read.image[0].words.as_ptr()));
    let offset = read.image[0].words.as_ptr() as usize - bytes.as_ptr() as usize;
    assert!(offset.is_multiple_of(4096), "sections are page-aligned");
}

#[test]
fn chip_to_chip_opcodes_are_reserved() {
    for opcode in [tsp::opcode::Opcode::Send, tsp::opcode::Opcode::Receive] {
        let mut word = [0u8; 16];
        word[0] = opcode as u8;
        let e = tsp::binary::decode(&word).unwrap_err();
        assert!(e.reason.contains("reserved"), "{e}");
    }
}

#[test]
fn opcode_and_name_tables_are_consistent() {
    use std::collections::BTreeSet;
    let unique = |names: Vec<&str>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    assert!(unique(tsp::opcode::Opcode::ALL.iter().map(|o| o.mnemonic()).collect()));
    assert!(unique(tsp::ALU_OPS.iter().map(|r| r.2).collect()));
    assert!(unique(wafer::PE_OPS.iter().map(|r| r.2).collect()));
    assert!(tsp::ALU_OPS.iter().enumerate().all(|(i, r)| usize::from(r.0) == i));
    for o in tsp::opcode::Opcode::ALL {
        assert_eq!(tsp::opcode::Opcode::from_byte(*o as u8), Some(*o));
    }
    for (_, op, _) in tsp::ALU_OPS {
        assert!(op.arity() <= 3 && !op.name().is_empty());
    }
}

#[test]
fn instructions_read_like_the_table() {
    use tsp::*;
    let e = |id| Stream { dir: Dir::East, id };
    let g = |base, width| StreamGroup { dir: Dir::West, base, width };
    let shown = [
        Inst::Read { addr: 17, stream: e(5) }.to_string(),
        Inst::Gather { map: e(1), lo: 0, hi: 128, stream: e(5) }.to_string(),
        Inst::Alu {
            op: AluOp::Fma,
            ty: AluType::F32,
            a: Operand::Stream(g(4, 4)),
            b: Operand::Imm(0x3f80_0000),
            c: Operand::Alu(2),
            dst: Some(g(8, 4)),
        }
        .to_string(),
        Inst::LoadWeights { k0: 16, streams: std::array::from_fn(|i| i as u8) }.to_string(),
        Inst::Accumulate { row: 3, mode: AccMode::Add, emit: Some(8) }.to_string(),
    ];
    let expected = [
        "read 17, e5",
        "gather e1, [0, 128), e5",
        "alu fma.f32 w4:4, 0x3f800000, alu2 -> w8:4",
        "load_weights 16, [0..15]",
        "accumulate 3, add, emit 8",
    ];
    assert_eq!(shown, expected);
}
