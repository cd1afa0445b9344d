//! Paths of a manifest: names, and patterns of names.
//!
//! `*`, `?` and `[...]` match within one name, `**` any number of directories. A byte that is
//! escaped means itself.

use super::words;
use crate::{Error, Kind, NodeId, Tree, check_name};
use std::{collections::BTreeSet, fmt};

/// A path whose parts may match many names.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) parts: Vec<Part>,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Name(Box<[u8]>),
    Glob(Box<[Token]>, Box<str>),
    /// `**`
    Deep,
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[a-z]`, `[!a-z]`
    Of {
        is_not: bool,
        ranges: Box<[(u8, u8)]>,
    },
}

/// A name in a directory.
pub(super) type Place = (NodeId, Box<[u8]>);

/// Reads a path as a manifest writes it.
pub(super) fn parse(word: &[u8]) -> Result<Pattern, String> {
    let mut parts = Vec::new();
    for raw in word.split(|&it| it == b'/').filter(|it| !it.is_empty() && *it != b".") {
        let part = part(raw)?;
        if let Part::Name(name) = &part
            && let Err(Error::Name { why, .. }) = check_name(name)
        {
            let leaves = &**name == b"..";
            let why = if leaves { "would leave the tree" } else { &why };
            return Err(format!("{}: {why}", word.escape_ascii()));
        }
        // Two mean no more than one.
        if part != Part::Deep || parts.last() != Some(&Part::Deep) {
            parts.push(part);
        }
    }
    Ok(Pattern { parts })
}

fn part(raw: &[u8]) -> Result<Part, String> {
    if raw == b"**" {
        return Ok(Part::Deep);
    }
    let bytes = words::bytes(raw)?;
    let mut tokens = Vec::with_capacity(bytes.len());
    let mut rest = &*bytes;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        tokens.push(match byte {
            (b'?', false) => Token::One,
            (b'*', false) => Token::Many,
            (b'[', false) => match set(rest) {
                Some((token, behind)) => {
                    rest = behind;
                    token
                }
                // Without its end it is a bracket, as fnmatch(3) has it.
                None => Token::Byte(b'['),
            },
            (byte, _) => Token::Byte(byte),
        });
    }
    let name: Option<Box<[u8]>> = tokens
        .iter()
        .map(|it| if let Token::Byte(byte) = it { Some(*byte) } else { None })
        .collect();
    Ok(match name {
        Some(name) => Part::Name(name),
        None => Part::Glob(tokens.into(), raw.escape_ascii().to_string().into()),
    })
}

/// What stands behind `[`, to its `]`.
fn set(mut rest: &[(u8, bool)]) -> Option<(Token, &[(u8, bool)])> {
    let is_not = matches!(rest.first(), Some((b'!' | b'^', false)));
    if is_not {
        rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        let (&(from, is_escaped), behind) = rest.split_first()?;
        rest = behind;
        // The first one may be a bracket itself.
        if from == b']' && !is_escaped && !ranges.is_empty() {
            return Some((Token::Of { is_not, ranges: ranges.into() }, rest));
        }
        match rest {
            [(b'-', false), (to, escaped), behind @ ..] if *to != b']' || *escaped => {
                ranges.push((from, *to));
                rest = behind;
            }
            _ => ranges.push((from, from)),
        }
    }
}

fn is_match(tokens: &[Token], name: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    // Where the last `*` is and how far it reaches: only that one is ever tried again.
    let mut last = None;
    while pos < name.len() {
        let fits = match tokens.get(at) {
            Some(Token::Many) => {
                last = Some((at, pos));
                at += 1;
                continue;
            }
            Some(Token::Byte(byte)) => *byte == name[pos],
            Some(Token::One) => true,
            Some(Token::Of { is_not, ranges }) => {
                ranges.iter().any(|&(from, to)| (from..=to).contains(&name[pos])) != *is_not
            }
            None => false,
        };
        if fits {
            (at, pos) = (at + 1, pos + 1);
        } else if let Some((star, reached)) = last {
            last = Some((star, reached + 1));
            (at, pos) = (star + 1, reached + 1);
        } else {
            return false;
        }
    }
    tokens[at..].iter().all(|it| *it == Token::Many)
}

impl Pattern {
    /// The names, when there is nothing to match.
    pub(super) fn names(&self) -> Option<Vec<&[u8]>> {
        let mut names = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let Part::Name(name) = part else { return None };
            names.push(&**name);
        }
        Some(names)
    }

    /// Everything in the tree that it matches, each once.
    pub(super) fn find(&self, tree: &Tree) -> BTreeSet<Place> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        // Directories have one name each: there is an end.
        let mut todo = vec![(NodeId::ROOT, 0)];
        while let Some((dir, i)) = todo.pop() {
            if !seen.insert((dir, i)) {
                continue;
            }
            let is_last = i + 1 == self.parts.len();
            let mut step = |name: &[u8], child: NodeId, next: usize| {
                if next == self.parts.len() {
                    found.insert((dir, name.into()));
                } else if matches!(tree.node(child).kind, Kind::Directory(_)) {
                    todo.push((child, next));
                }
            };
            match &self.parts[i] {
                Part::Name(name) => {
                    if let Some(child) = tree.child(dir, name) {
                        step(name, child, i + 1);
                    }
                }
                Part::Glob(tokens, _) => {
                    for (name, child) in tree.names(dir).filter(|it| is_match(tokens, it.0)) {
                        step(name, child, i + 1);
                    }
                }
                Part::Deep => {
                    for (name, child) in tree.names(dir) {
                        step(name, child, i);
                        if is_last {
                            step(name, child, i + 1);
                        }
                    }
                    if !is_last {
                        todo.push((dir, i + 1));
                    }
                }
            }
        }
        found
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() {
            return f.write_str(".");
        }
        for (i, part) in self.parts.iter().enumerate() {
            if i > 0 {
                f.write_str("/")?;
            }
            match part {
                Part::Name(name) => write!(f, "{}", name.escape_ascii())?,
                Part::Glob(_, text) => f.write_str(text)?,
                Part::Deep => f.write_str("**")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let Part::Glob(tokens, _) = part(pattern.as_bytes()).expect("a pattern") else {
            panic!("{pattern} is no pattern");
        };
        for name in yes {
            assert!(is_match(&tokens, name.as_bytes()), "{pattern} matches {name}");
        }
        for name in no {
            assert!(!is_match(&tokens, name.as_bytes()), "{pattern} does not match {name}");
        }
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        check("*", &["", "a", ".b"], &[]);
        check("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "acb", "abcd"]);
        check("?x", &["ax"], &["x", "aax"]);
        check("[a-c]1", &["a1", "c1"], &["d1", "-1"]);
        check("[!a-c]1", &["d1"], &["a1", "1"]);
        check("[]x]", &["]", "x"], &["y"]);
        check("[a-]?", &["-x", "ax"], &["bx"]);
        check("\\052*", &["*x"], &["x"]);
    }

    #[test]
    fn a_bracket_without_an_end_is_a_bracket() {
        assert_eq!(part(b"[ab"), Ok(Part::Name((*b"[ab").into())));
        assert_eq!(part(b"\\052"), Ok(Part::Name((*b"*").into())));
    }
}
