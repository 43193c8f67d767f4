//! Requests rendered once; sending another number changes eight digits in place.

use serde_json::Value;

use crate::Target;

/// Germany's +49 151 with eight free digits: every one of 100 million numbers is valid and mobile.
const NUMBER_PREFIX: &str = "+49151";
const FREE_DIGITS: usize = 8;
/// Stands where the digits go until the request is rendered.
const BLANK_NUMBER: &str = "+4915100000000";

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One message on the normal lane.
    Normal,
    /// One message on the express lane.
    Express,
    /// One one-time code.
    Otp,
    /// One batch with that many recipients.
    Batch(usize),
}

impl Kind {
    /// The status of success.
    pub fn success(self) -> u16 {
        if self == Kind::Otp { 200 } else { 202 }
    }

    /// Messages that one request makes.
    pub fn messages(self) -> u64 {
        if let Kind::Batch(recipients) = self { recipients as u64 } else { 1 }
    }
}

/// A request ready to be sent, once its numbers are set.
#[derive(Debug, Clone)]
pub struct Template {
    /// What it asks for.
    pub kind: Kind,
    bytes: Vec<u8>,
    /// Where each number's free digits begin.
    digits: Vec<usize>,
}

impl Template {
    /// Renders a request of that kind with that text.
    pub fn new(target: &Target, kind: Kind, text: &str) -> Template {
        let (one, text) = (format!("\"{BLANK_NUMBER}\""), Value::from(text));
        let body = match kind {
            Kind::Normal => format!(r#"{{"to":{one},"text":{text}}}"#),
            Kind::Express => format!(r#"{{"to":{one},"text":{text},"express":true}}"#),
            Kind::Otp => format!(r#"{{"to":{one},"otp":true}}"#),
            Kind::Batch(recipients) => format!(r#"{{"to":[{}],"text":{text}}}"#, vec![one; recipients].join(",")),
        };
        let path = if matches!(kind, Kind::Batch(_)) { "/v1/batches" } else { "/v1/messages" };
        let bytes = target.render("POST", path, Some(&body));
        // Only in the list of recipients, in case the text quotes the number.
        let blank = BLANK_NUMBER.as_bytes();
        let quoted =
            |at: usize| bytes.get(at.wrapping_sub(1)) == Some(&b'"') && bytes.get(at + blank.len()) == Some(&b'"');
        let digits = (0..bytes.len())
            .filter(|&at| bytes[at..].starts_with(blank) && quoted(at))
            .map(|at| at + NUMBER_PREFIX.len())
            .collect();
        Template { kind, bytes, digits }
    }

    /// The request number `ticket` of a run: its numbers differ from those of every other ticket, until all
    /// 100 million are used and they start over.
    pub fn numbered(&mut self, ticket: u64) -> &[u8] {
        let first = ticket.wrapping_mul(self.digits.len() as u64);
        for (number, &at) in (first..).zip(&self.digits) {
            let mut rest = number;
            for digit in self.bytes[at..at + FREE_DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(kind: Kind, ticket: u64) -> String {
        let target = Target::new("http://h:1", "ca_key").unwrap();
        String::from_utf8(Template::new(&target, kind, "Hi \"you\"").numbered(ticket).to_vec()).unwrap()
    }

    #[test]
    fn requests_as_the_server_sees_them() {
        let head = "HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer ca_key\r\nContent-Type: application/json\r\n";
        for (kind, ticket, path, body) in [
            (Kind::Normal, 0, "messages", r#"{"to":"+4915100000000","text":"Hi \"you\""}"#),
            (Kind::Normal, 12_345_678, "messages", r#"{"to":"+4915112345678","text":"Hi \"you\""}"#),
            (Kind::Normal, 100_000_001, "messages", r#"{"to":"+4915100000001","text":"Hi \"you\""}"#),
            (Kind::Express, 7, "messages", r#"{"to":"+4915100000007","text":"Hi \"you\"","express":true}"#),
            (Kind::Otp, 42, "messages", r#"{"to":"+4915100000042","otp":true}"#),
            (Kind::Batch(2), 3, "batches", r#"{"to":["+4915100000006","+4915100000007"],"text":"Hi \"you\""}"#),
        ] {
            let expected = format!("POST /v1/{path} {head}Content-Length: {}\r\n\r\n{body}", body.len());
            assert_eq!(rendered(kind, ticket), expected);
        }
    }
}
