//! From text to graph.

use super::attr::{Attr, operation};
use super::lex::{Lexer, Place, Token};
use super::{base64, literal};
use crate::ir::{DType, Graph, OriginId, Tensor, TensorType, ValueId};
use std::collections::BTreeMap;

/// Bytes that a constant written as one repeated element may have: a few characters must not ask
/// for all memory.
const SPLAT_LIMIT: usize = 1 << 30;

/// What is wrong with a text, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// Reads the text form. The result is well-typed; [`verify`](crate::ir::verify::verify) checks the rest.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut lexer = Lexer::new(text);
    let (token, place) = lexer.next()?;
    let mut p = Parser { lexer, token, place, labels: BTreeMap::new(), origins: BTreeMap::new(), table: false };
    let graph = p.graph()?;
    match p.token {
        Token::End => Ok(graph),
        _ => Err(p.unexpected("the end of the text")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    place: Place,
    labels: BTreeMap<&'a str, ValueId>,
    /// Origins by name, where the text has no table of them.
    origins: BTreeMap<String, OriginId>,
    table: bool,
}

/// The elements of a constant, before their type is known.
enum Literal<'a> {
    List(Vec<(&'a str, Place)>),
    Splat(&'a str, Place),
    Base64(String, Place),
}

impl<'a> Parser<'a> {
    fn unexpected(&self, wanted: &str) -> ParseError {
        self.place.error(format!("expected {wanted}, found {}", self.token.describe()))
    }

    fn advance(&mut self) -> Result<Token<'a>, ParseError> {
        let (token, place) = self.lexer.next()?;
        self.place = place;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn eat(&mut self, mark: char) -> Result<bool, ParseError> {
        let found = self.token == Token::Mark(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, mark: char) -> Result<(), ParseError> {
        if self.eat(mark)? { Ok(()) } else { Err(self.unexpected(&format!("`{mark}`"))) }
    }

    fn eat_word(&mut self, word: &str) -> Result<bool, ParseError> {
        let found = self.token == Token::Word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn word(&mut self, wanted: &str) -> Result<&'a str, ParseError> {
        match self.token {
            Token::Word(w) => {
                self.advance()?;
                Ok(w)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    fn string(&mut self, wanted: &str) -> Result<String, ParseError> {
        if !matches!(self.token, Token::Text(_)) {
            return Err(self.unexpected(wanted));
        }
        match self.advance()? {
            Token::Text(s) => Ok(s),
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// Items up to `close`, separated by commas.
    fn items<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let mut items = Vec::new();
        if self.eat(close)? {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close)? {
                return Ok(items);
            }
            self.expect(',')?;
        }
    }

    fn graph(&mut self) -> Result<Graph, ParseError> {
        if !self.eat_word("graph")? {
            return Err(self.unexpected("`graph`"));
        }
        let mut g = Graph::new(self.string("the graph's name in quotes")?);
        self.expect('{')?;
        if self.eat_word("origins")? {
            self.expect('[')?;
            self.table = true;
            for name in self.items(']', |p| p.string("the name of an origin"))? {
                g.push_origin(name);
            }
        }
        loop {
            match self.token {
                Token::Value(label) => {
                    let place = self.place;
                    self.advance()?;
                    if label.is_empty() {
                        return Err(place.error("a value has a label: `%0`"));
                    }
                    self.expect('=')?;
                    let v = self.definition(&mut g)?;
                    if self.labels.insert(label, v).is_some() {
                        return Err(place.error(format!("%{label} is defined twice")));
                    }
                }
                Token::Word("output") => {
                    self.advance()?;
                    let name = self.string("the output's name in quotes")?;
                    self.expect('=')?;
                    let v = self.operand()?;
                    g.add_output(name, v);
                }
                Token::Mark('}') => {
                    self.advance()?;
                    return Ok(g);
                }
                _ => return Err(self.unexpected("a value, an output or `}`")),
            }
        }
    }

    fn operand(&mut self) -> Result<ValueId, ParseError> {
        let Token::Value(label) = self.token else { return Err(self.unexpected("a value")) };
        let Some(&v) = self.labels.get(label) else {
            return Err(self.place.error(format!("%{label} is not defined above")));
        };
        self.advance()?;
        Ok(v)
    }

    fn definition(&mut self, g: &mut Graph) -> Result<ValueId, ParseError> {
        let place = self.place;
        let name = self.word("an operation, `input` or `const`")?;
        match name {
            "input" => {
                let ty = self.declared_type()?;
                let label = self.value_name()?;
                Ok(g.add_input(label, ty))
            }
            "const" => {
                let literal = self.literal()?;
                let ty = self.declared_type()?;
                let label = self.value_name()?;
                Ok(g.add_const(label, tensor(literal, ty, place)?))
            }
            _ => self.node(g, name, place),
        }
    }

    fn node(&mut self, g: &mut Graph, name: &str, place: Place) -> Result<ValueId, ParseError> {
        let mut inputs = Vec::new();
        if matches!(self.token, Token::Value(_)) {
            inputs.push(self.operand()?);
            while self.eat(',')? {
                inputs.push(self.operand()?);
            }
        }
        let attrs = if self.eat('{')? { self.items('}', Self::attribute)? } else { Vec::new() };
        let type_place = self.place;
        let ty = if self.token == Token::Mark(':') { Some(self.declared_type()?) } else { None };
        let op = operation(name, attrs, ty.as_ref()).map_err(|m| place.error(m))?;
        let origin = self.origin(g, name)?;
        let label = self.value_name()?;
        let v = g.add_node(op, &inputs, origin).map_err(|e| place.error(e.to_string()))?;
        g.set_name(v, label);
        match ty {
            Some(ty) if ty != *g.ty(v) => {
                Err(type_place.error(format!("the operands give {}, but {ty} is written here", g.ty(v))))
            }
            _ => Ok(v),
        }
    }

    fn attribute(&mut self) -> Result<(String, Attr), ParseError> {
        let name = self.word("the name of an attribute")?.to_string();
        self.expect('=')?;
        if self.eat('[')? {
            let items = self.items(']', |p| {
                let word = p.word("a number or a name")?.to_string();
                let arg = if p.eat('(')? {
                    let arg = p.word("a number")?.to_string();
                    p.expect(')')?;
                    Some(arg)
                } else {
                    None
                };
                Ok((word, arg))
            })?;
            return Ok((name, Attr::List(items)));
        }
        Ok((name, Attr::Word(self.word("the value of the attribute")?.to_string())))
    }

    fn origin(&mut self, g: &mut Graph, op: &str) -> Result<OriginId, ParseError> {
        if !self.eat_word("from")? {
            // A text written by hand need not name them.
            return Ok(self.origin_named(g, format!("{op}_{}", g.nodes().len())));
        }
        match self.token {
            Token::Origin(index) => {
                let Some(i) = index.parse::<u32>().ok().filter(|&i| (i as usize) < g.origins().len()) else {
                    return Err(self.place.error(format!("@{index} is not in the table of origins")));
                };
                self.advance()?;
                Ok(OriginId(i))
            }
            _ => {
                let name = self.string("the name of the user's node, or its number in the table")?;
                Ok(self.origin_named(g, name))
            }
        }
    }

    fn origin_named(&mut self, g: &mut Graph, name: String) -> OriginId {
        if self.table {
            return g.add_origin(&name);
        }
        *self.origins.entry(name).or_insert_with_key(|name| g.push_origin(name.as_str()))
    }

    fn value_name(&mut self) -> Result<String, ParseError> {
        if self.eat_word("as")? { self.string("the value's name in quotes") } else { Ok(String::new()) }
    }

    fn declared_type(&mut self) -> Result<TensorType, ParseError> {
        self.expect(':')?;
        let place = self.place;
        let word = self.word("an element type")?;
        let Some(dtype) = DType::parse(word) else {
            return Err(place.error(format!("`{word}` is no element type")));
        };
        self.expect('[')?;
        let mut shape = Vec::new();
        if !self.eat(']')? {
            let at = self.place;
            for extent in self.word("extents like `1x3x8`")?.split('x') {
                shape.push(extent.parse().map_err(|_| at.error(format!("`{extent}` is no extent")))?);
            }
            self.expect(']')?;
        }
        let ty = TensorType::new(dtype, shape);
        if ty.fits() { Ok(ty) } else { Err(place.error(format!("{ty} is too large"))) }
    }

    fn literal(&mut self) -> Result<Literal<'a>, ParseError> {
        if self.eat('[')? {
            let items = self.items(']', |p| {
                let place = p.place;
                Ok((p.word("an element")?, place))
            })?;
            return Ok(Literal::List(items));
        }
        let place = self.place;
        match self.word("`[`, `splat` or `base64`")? {
            "splat" => {
                let place = self.place;
                Ok(Literal::Splat(self.word("an element")?, place))
            }
            "base64" => {
                let place = self.place;
                Ok(Literal::Base64(self.string("base64 in quotes")?, place))
            }
            "elided" => Err(place.error("this constant was left out when the graph was printed as an outline")),
            w => Err(place.error(format!("expected `[`, `splat` or `base64`, found `{w}`"))),
        }
    }
}

fn tensor(literal: Literal<'_>, ty: TensorType, place: Place) -> Result<Tensor, ParseError> {
    let size = ty.dtype.size();
    let element = |word: &str, place: Place| {
        literal::element(ty.dtype, word).ok_or_else(|| place.error(format!("`{word}` is no {}", ty.dtype)))
    };
    let bytes = match literal {
        Literal::List(items) => {
            let mut bytes = Vec::with_capacity(items.len() * size);
            for (word, place) in items {
                bytes.extend(&element(word, place)?[..size]);
            }
            bytes
        }
        Literal::Splat(word, place) => {
            let one = element(word, place)?;
            if ty.bytes() > SPLAT_LIMIT {
                return Err(place.error(format!("a splat of {ty} exceeds {SPLAT_LIMIT} bytes")));
            }
            one[..size].repeat(ty.elements())
        }
        Literal::Base64(text, place) => base64::decode(&text).ok_or_else(|| place.error("this is not base64"))?,
    };
    if bytes.len() != ty.bytes() {
        let got = bytes.len() / size;
        return Err(place.error(format!("{ty} has {} elements, but {got} are written", ty.elements())));
    }
    Tensor::new(ty.dtype, ty.shape, bytes).map_err(|e| place.error(e.to_string()))
}
