//! Words, strings and punctuation, each with its place.

use super::parse::ParseError;

/// A place in the text, both counted from 1; columns count characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    pub(super) fn error(self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column, message: message.into() }
    }
}

/// A token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token<'a> {
    /// Letters, digits, `_`, `.`, `+`, `-`: names, numbers, extents.
    Word(&'a str),
    /// `%label`.
    Value(&'a str),
    /// `@3`.
    Origin(&'a str),
    /// A quoted string, unescaped.
    Text(String),
    /// One of `= , : { } [ ] ( )`.
    Mark(char),
    End,
}

impl Token<'_> {
    /// For messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(w) => format!("`{w}`"),
            Token::Value(v) => format!("`%{v}`"),
            Token::Origin(o) => format!("`@{o}`"),
            Token::Text(_) => "a string".to_string(),
            Token::Mark(c) => format!("`{c}`"),
            Token::End => "the end of the text".to_string(),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')
}

/// A walk over the tokens of a text.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    place: Place,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text, place: Place { line: 1, column: 1 } }
    }

    fn bump(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.place = Place { line: self.place.line + 1, column: 1 };
            } else {
                self.place.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> &'a str {
        let n = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        self.bump(n)
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, Place), ParseError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.bump(blank);
            if !self.rest.starts_with(';') {
                break;
            }
            let n = self.rest.find('\n').unwrap_or(self.rest.len());
            self.bump(n);
        }
        let place = self.place;
        let token = match self.rest.chars().next() {
            None => Token::End,
            Some('%') => {
                self.bump(1);
                Token::Value(self.word())
            }
            Some('@') => {
                self.bump(1);
                Token::Origin(self.word())
            }
            Some('"') => Token::Text(self.string(place)?),
            Some(c @ ('=' | ',' | ':' | '{' | '}' | '[' | ']' | '(' | ')')) => {
                self.bump(1);
                Token::Mark(c)
            }
            Some(c) if is_word(c) => Token::Word(self.word()),
            Some(c) => return Err(place.error(format!("unexpected character {c:?}"))),
        };
        Ok((token, place))
    }

    fn string(&mut self, start: Place) -> Result<String, ParseError> {
        self.bump(1);
        let mut out = String::new();
        loop {
            // Constants are long strings without an escape: take whole runs.
            let run = self.rest.find(['"', '\\', '\n']).unwrap_or(self.rest.len());
            out.push_str(self.bump(run));
            let place = self.place;
            let escape = match self.rest.as_bytes() {
                [b'"', ..] => {
                    self.bump(1);
                    return Ok(out);
                }
                [b'\\', ..] => {
                    self.bump(1);
                    self.rest.chars().next()
                }
                _ => return Err(start.error("the string does not end on its line")),
            };
            match escape {
                Some(c @ ('"' | '\\')) => {
                    self.bump(1);
                    out.push(c);
                }
                Some('u') => {
                    let end = self.rest.find('}');
                    let code = end.and_then(|e| self.rest.get(2..e)).filter(|_| self.rest[1..].starts_with('{'));
                    let c = code.and_then(|c| u32::from_str_radix(c, 16).ok()).and_then(char::from_u32);
                    let (Some(c), Some(end)) = (c, end) else {
                        return Err(place.error("an escape is \\u{hex digits of a character}"));
                    };
                    self.bump(end + 1);
                    out.push(c);
                }
                _ => return Err(place.error("unknown escape; known are \\\", \\\\ and \\u{…}")),
            }
        }
    }
}

/// A string as it is written.
pub(super) fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Control characters, and separators that some viewers take for a line's end.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
