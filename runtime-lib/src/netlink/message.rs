//! The bytes of netlink messages (netlink(7), rtnetlink(7)): pure, and deaf to whatever does not have the right length.

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// `NLMSG_ALIGNTO` and `RTA_ALIGNTO`.
const ALIGNMENT: usize = 4;
/// The bits of an attribute's type that are no flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// A message to the kernel.
#[derive(Debug, Clone)]
pub(super) struct Request(Vec<u8>);

impl Request {
    /// A message of a type (`RTM_*`) with flags (`NLM_F_*`), and the structure that every message of its type begins with.
    pub(super) fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        put(&mut bytes, 4, &kind.to_ne_bytes());
        put(&mut bytes, 6, &flags.to_ne_bytes());
        bytes.extend_from_slice(head);
        Self(bytes)
    }

    /// The same with one more attribute.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        // struct rtattr: length with itself, type.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// The same with a text as the attribute, ended by a NUL.
    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        self.attribute(kind, &bytes)
    }

    /// The bytes to send.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        put(&mut self.0, 0, &length.to_ne_bytes());
        put(&mut self.0, 8, &sequence.to_ne_bytes());
        self.0
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.iter_mut().skip(at).zip(value).for_each(|(slot, byte)| *slot = *byte);
}

/// A message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages in what one receive gave; stops at the first that is not whole.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind the first `skip` bytes of a message's body: type and value.
pub(super) fn attributes(body: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(skip.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

pub(super) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}

/// A text that a NUL ends, or the end of the attribute.
pub(super) fn text(value: &[u8]) -> String {
    let value = value.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_again() {
        let first = Request::new(19, 5, &[7; 6]).text(3, "eth0").attribute(28, &[1, 2, 3, 4]);
        let second = Request::new(20, 0, &[]);
        let mut bytes = first.finish(42);
        bytes.extend(second.finish(43));
        let read: Vec<_> = messages(&bytes).collect();
        let kinds: Vec<_> = read.iter().map(|message| (message.kind, message.sequence)).collect();
        assert_eq!(kinds, [(19, 42), (20, 43)]);
        let found: Vec<_> = attributes(read[0].body, 6).collect();
        assert_eq!(found, [(3, &b"eth0\0"[..]), (28, &[1, 2, 3, 4][..])]);
        assert_eq!(text(found[0].1), "eth0");
        assert!(read[1].body.is_empty());
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let whole = Request::new(16, 0, &[]).text(3, "eth0").finish(1);
        for end in 0..whole.len() {
            let cut = whole.get(..end).unwrap();
            assert_eq!(messages(cut).count(), 0);
        }
        let mut zero = whole.clone();
        put(&mut zero, 0, &0_u32.to_ne_bytes());
        assert_eq!(messages(&zero).count(), 0);
        for length in [0, 1, 3, 200_u16] {
            let mut lying = whole.clone();
            put(&mut lying, HEADER, &length.to_ne_bytes());
            let message = messages(&lying).next().unwrap();
            assert_eq!(attributes(message.body, 0).count(), 0, "{length}");
        }
    }
}
