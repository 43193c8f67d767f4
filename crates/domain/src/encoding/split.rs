//! Cutting a text into parts: each takes as many whole characters as fit, so neither an escape pair nor a surrogate
//! pair is ever cut. The cut depends on text and encoding alone and comes out the same each time.

use super::{Encoding, Shift, gsm7};

/// The texts of the parts, in order. They are slices of the text; put together they are the text.
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    rest: &'a str,
    encoding: Encoding,
    /// Units each part takes; `None` when one part takes all.
    capacity: Option<u32>,
    done: bool,
}

/// Cuts a text as its plan did; `parts` is the plan's (only whether it is 1 matters). For text alone: binary messages
/// are cut by `binary_segments`.
pub fn segments(text: &str, encoding: Encoding, parts: u8) -> Segments<'_> {
    let capacity = (parts > 1).then(|| encoding.capacity(true));
    Segments { rest: text, encoding, capacity, done: false }
}

/// Parts that a text which does not fit one makes.
pub(super) fn count(text: &str, encoding: Encoding) -> u32 {
    Segments { rest: text, encoding, capacity: Some(encoding.capacity(true)), done: false }.count() as u32
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.done {
            return None;
        }
        let end = self.capacity.map_or(self.rest.len(), |capacity| cut(self.rest, self.encoding, capacity));
        let (part, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.done = rest.is_empty();
        Some(part)
    }
}

/// Octets of `text` that fit `capacity` units. At least one character, so that an end is always reached.
fn cut(text: &str, encoding: Encoding, capacity: u32) -> usize {
    let head = &text.as_bytes()[..text.len().min(capacity as usize)];
    if encoding == Encoding::Gsm7(Shift::NONE) && gsm7::is_plain(head) {
        return head.len();
    }
    let mut units = 0;
    for (at, c) in text.char_indices() {
        // A character the plan would have refused is encoded as one `?`.
        units += encoding.units(c).unwrap_or(1);
        if units > capacity && at > 0 {
            return at;
        }
    }
    text.len()
}
