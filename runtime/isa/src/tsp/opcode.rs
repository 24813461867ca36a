//! The opcodes of the `tsp` binary form: number, mnemonic, meaning. The only such table.

macro_rules! opcodes {
    ($($code:literal $name:ident $text:literal)*) => {
        /// First byte of an instruction.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[allow(missing_docs)]
        #[repr(u8)]
        pub enum Opcode {
            $($name = $code),*
        }

        impl Opcode {
            /// Every opcode, in order of number.
            pub const ALL: &[Opcode] = &[$(Opcode::$name),*];

            /// The opcode of a number, if the number is one.
            pub fn from_byte(byte: u8) -> Option<Opcode> {
                match byte {
                    $($code => Some(Opcode::$name),)*
                    _ => None,
                }
            }

            /// Name in text.
            pub fn mnemonic(self) -> &'static str {
                match self {
                    $(Opcode::$name => $text),*
                }
            }
        }
    };
}

// 0x00 is no opcode, so that zeroed memory does not decode.
opcodes! {
    0x01 Nop "nop"
    0x02 Repeat "repeat"
    0x03 Sync "sync"
    0x04 Notify "notify"
    0x10 Read "read"
    0x11 Write "write"
    0x12 Gather "gather"
    0x13 Scatter "scatter"
    0x20 Alu "alu"
    0x30 LoadWeights "load_weights"
    0x31 InstallWeights "install_weights"
    0x32 Activations "activations"
    0x33 Accumulate "accumulate"
    0x40 Shift "shift"
    0x41 Select "select"
    0x42 Permute "permute"
    0x43 Distribute "distribute"
    0x44 Rotate "rotate"
    0x45 Transpose "transpose"
    0x50 Send "send"
    0x51 Receive "receive"
}

impl Opcode {
    /// True for the chip-to-chip opcodes, reserved until programs span several chips.
    pub const fn is_reserved(self) -> bool {
        matches!(self, Opcode::Send | Opcode::Receive)
    }
}
