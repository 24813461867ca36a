//! What both text forms share: a scanner that knows where it is, string quoting, byte dumps.
//!
//! Both forms are sequences of words, numbers, quoted strings and punctuation; line breaks are
//! layout only and `//` starts a comment. Knows nothing of either machine.

use std::fmt::{self, Write};
use std::str::FromStr;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What was expected and what is there.
    pub message: String,
}

/// Reads tokens from a text.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    pos: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, pos: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.pos += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.pos += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    /// Position of the next token, for [`Scanner::error_at`].
    pub(crate) fn here(&mut self) -> usize {
        self.skip();
        self.pos
    }

    pub(crate) fn error_at(&self, pos: usize, message: impl Into<String>) -> TextError {
        let before = &self.text[..pos];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        TextError {
            line: before.bytes().filter(|&b| b == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        }
    }

    /// An error at the next token that says what should be there.
    pub(crate) fn expected<T>(&mut self, what: &str) -> Result<T, TextError> {
        let pos = self.here();
        let rest = self.rest();
        let word: String = rest.chars().take_while(|&c| is_word(c)).take(40).collect();
        let found = match (word.is_empty(), rest.chars().next()) {
            (false, _) => format!("`{word}`"),
            (true, Some(c)) => format!("`{c}`"),
            (true, None) => "the end".to_string(),
        };
        Err(self.error_at(pos, format!("expected {what}, found {found}")))
    }

    pub(crate) fn at_end(&mut self) -> bool {
        self.skip();
        self.rest().is_empty()
    }

    /// The next word, without taking it; empty when punctuation or the end is next.
    pub(crate) fn peek(&mut self) -> &'a str {
        self.skip();
        let rest = self.rest();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        &rest[..end]
    }

    /// Takes the next word if it is `word`.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let hit = self.peek() == word;
        if hit {
            self.pos += word.len();
        }
        hit
    }

    /// Takes the next word; `what` says in an error what it should have been.
    pub(crate) fn word(&mut self, what: &str) -> Result<&'a str, TextError> {
        let w = self.peek();
        if w.is_empty() {
            return self.expected(what);
        }
        self.pos += w.len();
        Ok(w)
    }

    pub(crate) fn keyword(&mut self, word: &str) -> Result<(), TextError> {
        if self.eat_word(word) { Ok(()) } else { self.expected(&format!("`{word}`")) }
    }

    /// Takes punctuation if it is next.
    pub(crate) fn eat(&mut self, punct: &str) -> bool {
        self.skip();
        let hit = self.rest().starts_with(punct);
        if hit {
            self.pos += punct.len();
        }
        hit
    }

    pub(crate) fn punct(&mut self, punct: &str) -> Result<(), TextError> {
        if self.eat(punct) { Ok(()) } else { self.expected(&format!("`{punct}`")) }
    }

    /// A decimal integer with optional sign, in the range of `T`.
    pub(crate) fn number<T: FromStr>(&mut self, what: &str) -> Result<T, TextError> {
        let start = self.here();
        let sign = self.rest().len() - self.rest().trim_start_matches(['-', '+']).len();
        self.pos += sign.min(1);
        let w = self.peek();
        // `+5` is written where a step is meant; `u32::from_str` takes it as well.
        let parsed = self.text[start..self.pos + w.len()].parse();
        match parsed {
            Ok(v) if w.starts_with(|c: char| c.is_ascii_digit()) => {
                self.pos += w.len();
                Ok(v)
            }
            _ if w.starts_with(|c: char| c.is_ascii_digit()) && w.bytes().all(|b| b.is_ascii_digit()) => {
                Err(self.error_at(start, format!("{what} is out of range")))
            }
            _ => {
                self.pos = start;
                self.expected(what)
            }
        }
    }

    /// `0x` and hexadecimal digits.
    pub(crate) fn hex_u32(&mut self, what: &str) -> Result<u32, TextError> {
        let w = self.peek();
        match w.strip_prefix("0x").map(|h| u32::from_str_radix(h, 16)) {
            Some(Ok(v)) => {
                self.pos += w.len();
                Ok(v)
            }
            _ => self.expected(what),
        }
    }

    /// A prefix letter and a number in one word: `p3`, `t0`.
    pub(crate) fn prefixed<T: FromStr>(&mut self, prefix: &str, what: &str) -> Result<T, TextError> {
        let w = self.peek();
        match w.strip_prefix(prefix).filter(|d| d.bytes().all(|b| b.is_ascii_digit())).map(str::parse) {
            Some(Ok(v)) => {
                self.pos += w.len();
                Ok(v)
            }
            _ => self.expected(what),
        }
    }

    /// A quoted string.
    pub(crate) fn string(&mut self, what: &str) -> Result<String, TextError> {
        let start = self.here();
        if !self.eat("\"") {
            return self.expected(what);
        }
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.error_at(start, "the string that starts here has no end"));
            };
            let at = self.pos;
            self.pos += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => {
                    let e = self.rest().chars().next();
                    self.pos += e.map_or(0, char::len_utf8);
                    match e {
                        Some('n') => out.push('\n'),
                        Some('t') => out.push('\t'),
                        Some('r') => out.push('\r'),
                        Some(c @ ('"' | '\\')) => out.push(c),
                        Some('u') => out.push(self.unicode_escape(at)?),
                        _ => return Err(self.error_at(at, "unknown escape; known are \\\" \\\\ \\n \\t \\r \\u{…}")),
                    }
                }
                '\n' => return Err(self.error_at(start, "the string that starts here has no end on its line")),
                c => out.push(c),
            }
        }
    }

    fn unicode_escape(&mut self, at: usize) -> Result<char, TextError> {
        let digits = self.rest().strip_prefix('{').and_then(|r| r.split_once('}')).map(|(d, _)| d);
        let c = digits.filter(|d| d.len() <= 6).and_then(|d| u32::from_str_radix(d, 16).ok()).and_then(char::from_u32);
        match (digits, c) {
            (Some(d), Some(c)) => {
                self.pos += d.len() + 2;
                Ok(c)
            }
            _ => Err(self.error_at(at, "an escape \\u{…} names a character in hexadecimal")),
        }
    }

    /// The lines of [`dump`]: `| hex [*n]`, `len` bytes in all.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<Vec<u8>, TextError> {
        let start = self.here();
        let mut out = Vec::new();
        while self.eat("|") {
            let at = self.here();
            let word = self.word("hexadecimal digits")?;
            let Some(line) = unhex(word) else {
                return Err(self.error_at(at, "expected pairs of hexadecimal digits"));
            };
            let times: usize = if self.eat("*") { self.number("a repetition count")? } else { 1 };
            // Checked before anything is allocated: a count is as trustworthy as its file.
            match times.checked_mul(line.len()).and_then(|n| n.checked_add(out.len())) {
                Some(n) if n <= len => (0..times).for_each(|_| out.extend_from_slice(&line)),
                _ => return Err(self.error_at(at, format!("more than the {len} bytes announced"))),
            }
        }
        if out.len() != len {
            return Err(self.error_at(start, format!("{len} bytes announced, {} follow", out.len())));
        }
        Ok(out)
    }
}

fn unhex(word: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    word.len().is_multiple_of(2).then_some(())?;
    word.as_bytes().chunks(2).map(|p| Some(digit(p[0])? << 4 | digit(p[1])?)).collect()
}

/// Writes bytes as lines of 32, equal lines joined by a count.
pub(crate) fn dump(out: &mut String, indent: &str, bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.chunks(32).collect();
    for run in lines.chunk_by(|a, b| a == b) {
        let _ = write!(out, "{indent}| ");
        for b in run[0] {
            out.push(char::from_digit(u32::from(b >> 4), 16).expect("a nibble"));
            out.push(char::from_digit(u32::from(b & 15), 16).expect("a nibble"));
        }
        if run.len() > 1 {
            let _ = write!(out, " *{}", run.len());
        }
        out.push('\n');
    }
}

/// A string as the scanner reads it back.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A list of numbers with ascending runs written `first..last` and equal ones `value x count`
/// joined as one word: `0..15`, `7x16`; `none` (0xFFFF in maps) is written `_`.
pub(crate) fn print_runs(out: &mut String, values: &[u16], none: Option<u16>) {
    out.push('[');
    let mut i = 0;
    while i < values.len() {
        let v = values[i];
        let equal = values[i..].iter().take_while(|&&x| x == v).count();
        let rising = values[i..].iter().enumerate().take_while(|&(k, &x)| usize::from(x) == usize::from(v) + k).count();
        if i > 0 {
            out.push(' ');
        }
        let step = if none == Some(v) || equal >= rising {
            let name = if none == Some(v) { "_".to_string() } else { v.to_string() };
            let _ = if equal > 1 { write!(out, "{name}x{equal}") } else { write!(out, "{name}") };
            equal
        } else {
            // A run must not swallow the value that is written `_`.
            let rising = (1..=rising).rev().find(|&k| k == 1 || none != Some(v + (k as u16 - 1))).unwrap_or(1);
            let _ = if rising > 1 { write!(out, "{v}..{}", v + (rising as u16 - 1)) } else { write!(out, "{v}") };
            rising
        };
        i += step;
    }
    out.push(']');
}

impl Scanner<'_> {
    /// Inverse of [`print_runs`]; at most `max` values.
    pub(crate) fn runs(&mut self, none: Option<u16>, max: usize) -> Result<Vec<u16>, TextError> {
        self.punct("[")?;
        let mut out: Vec<u16> = Vec::new();
        while !self.eat("]") {
            let at = self.here();
            let w = self.word("a number, a run `a..b` or `a x n`, or `]`")?;
            let value = |s: &str| if s == "_" { none } else { s.parse().ok() };
            let run: Option<(u16, u16, usize)> = if let Some((a, b)) = w.split_once("..") {
                a.parse().ok().zip(b.parse().ok()).filter(|(a, b)| a <= b).map(|(a, b)| (a, b, 1))
            } else if let Some((a, n)) = w.split_once('x') {
                value(a).zip(n.parse().ok()).map(|(v, n)| (v, v, n))
            } else {
                value(w).map(|v| (v, v, 1))
            };
            let Some((a, b, times)) = run else {
                return Err(self.error_at(at, format!("`{w}` is not a number, a run `a..b` or a repetition `axn`")));
            };
            if times > max || out.len() + times * (usize::from(b - a) + 1) > max {
                return Err(self.error_at(at, format!("more than {max} values")));
            }
            for _ in 0..times {
                out.extend(a..=b);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_round_trip() {
        for values in [vec![], vec![3], vec![0, 1, 2, 3], vec![7; 5], vec![0xFFFE, 0xFFFF, 0xFFFF, 1, 2, 2, 2, 9]] {
            let mut text = String::new();
            print_runs(&mut text, &values, Some(0xFFFF));
            assert_eq!(Scanner::new(&text).runs(Some(0xFFFF), 1000).unwrap(), values, "{text}");
        }
        let mut text = String::new();
        print_runs(&mut text, &[0, 1, 2, 3, 3, 3, 0xFFFF], Some(0xFFFF));
        assert_eq!(text, "[0..3 3x2 _]");
        assert!(Scanner::new("[0x99999999]").runs(None, 100).is_err());
    }

    #[test]
    fn errors_name_line_and_column() {
        let mut s = Scanner::new("one // two\n  \"thr\\n\\u{e9}e\" 300");
        s.keyword("one").unwrap();
        assert_eq!(s.string("a name").unwrap(), "thr\née");
        let e = s.number::<u8>("a byte").unwrap_err();
        assert_eq!(e.to_string(), "2:18: a byte is out of range");
        assert_eq!(
            Scanner::new("\n ?").number::<u8>("a byte").unwrap_err().to_string(),
            "2:2: expected a byte, found `?`"
        );
    }

    #[test]
    fn dumps_join_equal_lines() {
        let mut bytes = vec![0u8; 96];
        bytes.extend([1, 2]);
        let mut text = String::new();
        dump(&mut text, "  ", &bytes);
        assert_eq!(text.lines().count(), 2);
        assert_eq!(Scanner::new(&text).bytes(98).unwrap(), bytes);
        assert!(Scanner::new(&text).bytes(97).is_err());
        assert!(Scanner::new("| 00 *99999999999").bytes(10).is_err());
    }
}
