//! From the line and column of a parser's complaint to the JSON pointer of what stands there.
//!
//! The parser of a typed document knows its position but not its path. Keeping the path would mean a second copy of the whole
//! generated parser; reading the text once more, on the way to an error, costs nothing.

/// The pointer (RFC 6901) of the value at or around `line` and `column`, both counted from one.
pub(super) fn pointer_at(text: &[u8], line: usize, column: usize) -> String {
    let before_line: usize = text
        .split_inclusive(|&byte| byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let end = text.len().min(before_line + column);
    let mut scanner = Scanner { open: Vec::new() };
    let mut rest = text.get(..end).unwrap_or(text);
    while let [byte, following @ ..] = rest {
        rest = match byte {
            b'"' => scanner.string(following),
            _ => {
                scanner.punctuation(*byte);
                following
            }
        };
    }
    scanner.pointer()
}

/// An object or array that is not closed yet.
enum Open {
    /// With the last key, and whether its value has begun.
    Object { key: Option<String>, in_value: bool },
    /// With the number of elements before the present one.
    Array(usize),
}

struct Scanner {
    open: Vec<Open>,
}

impl Scanner {
    fn punctuation(&mut self, byte: u8) {
        match (byte, self.open.last_mut()) {
            (b'{', _) => self.open.push(Open::Object { key: None, in_value: false }),
            (b'[', _) => self.open.push(Open::Array(0)),
            (b'}' | b']', _) => {
                self.open.pop();
            }
            (b':', Some(Open::Object { in_value, .. })) => *in_value = true,
            (b',', Some(Open::Object { key, in_value })) => (*key, *in_value) = (None, false),
            (b',', Some(Open::Array(index))) => *index += 1,
            _ => {}
        }
    }

    /// Takes a string whose quote is open; what follows it.
    fn string<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let mut escaped = false;
        let closed = text.iter().position(|&byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        });
        let Some(end) = closed else { return &[] };
        let (content, rest) = text.split_at(end);
        if let Some(Open::Object { key, in_value: false }) = self.open.last_mut() {
            *key = Some(String::from_utf8_lossy(content).into_owned());
        }
        rest.get(1..).unwrap_or_default()
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for open in &self.open {
            match open {
                Open::Object { key: Some(key), .. } => {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                }
                Open::Object { key: None, .. } => {}
                Open::Array(index) => {
                    pointer.push('/');
                    pointer.push_str(&index.to_string());
                }
            }
        }
        pointer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pointer at the first `#`, which is then no part of the document.
    fn at(text: &str) -> String {
        let offset = text.find('#').unwrap();
        let line = text[..offset].matches('\n').count() + 1;
        let column = offset - text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        pointer_at(text.replace('#', "").as_bytes(), line, column)
    }

    #[test]
    fn places_are_named_by_keys_and_indices() {
        assert_eq!(at(r##"{"a":7#}"##), "/a");
        assert_eq!(at("{\"a\":{\"b\":[1,\n  2,{\"c\":#true}]}}"), "/a/b/2/c");
        assert_eq!(at(r##"{"a":[],"b":{"x":1}#,"c":2}"##), "/b");
    }

    #[test]
    fn quotes_slashes_and_brackets_in_strings_are_no_structure() {
        assert_eq!(at(r##"{"a/b~":"}]\"{", "c":["[,",0#]}"##), "/c/1");
        assert_eq!(at(r##"{"a/b~":1#}"##), "/a~1b~0");
    }
}
