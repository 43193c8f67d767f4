//! Requests rendered once; sending another number changes eight digits in place.

use serde_json::Value;

use crate::Target;

/// Every number of Germany's +49 151 is valid and mobile; its last eight digits are free: 100 million numbers.
const FREE_DIGITS: usize = 8;
/// Stands for the number until a request is sent.
const BLANK_NUMBER: &str = "+4915100000000";

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One message on the normal lane.
    Normal,
    /// One message on the express lane.
    Express,
    /// One one-time code.
    Otp,
    /// One batch with that many recipients.
    Batch(usize),
    /// One message in another system's own form: a GET of this path, `{to}` standing for the number.
    Foreign(String),
}

impl Kind {
    /// Whether the status means that the request was accepted.
    pub fn accepts(&self, status: u16) -> bool {
        match self {
            Kind::Normal | Kind::Express | Kind::Batch(_) => status == 202,
            Kind::Otp => status == 200,
            Kind::Foreign(_) => (200..300).contains(&status),
        }
    }

    /// Messages that one request makes.
    pub fn messages(&self) -> u64 {
        if let Kind::Batch(recipients) = self { *recipients as u64 } else { 1 }
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
    /// Renders a request of that kind; `text` is for those that have one.
    pub fn new(target: &Target, kind: Kind, text: &str) -> Template {
        let (one, text) = (format!("\"{BLANK_NUMBER}\""), Value::from(text));
        let escaped = format!("%2B{}", &BLANK_NUMBER[1..]);
        let message = |body: String| target.render("POST", "/v1/messages", Some(&body));
        let bytes = match &kind {
            Kind::Normal => message(format!(r#"{{"to":{one},"text":{text}}}"#)),
            Kind::Express => message(format!(r#"{{"to":{one},"text":{text},"express":true}}"#)),
            Kind::Otp => message(format!(r#"{{"to":{one},"otp":true}}"#)),
            Kind::Batch(recipients) => {
                let all = vec![one.as_str(); *recipients].join(",");
                target.render("POST", "/v1/batches", Some(&format!(r#"{{"to":[{all}],"text":{text}}}"#)))
            }
            Kind::Foreign(path) => target.render("GET", &path.replace("{to}", &escaped), None),
        };
        // In JSON with its quotes: a text that mentions the number stays as it is.
        let number = if matches!(kind, Kind::Foreign(_)) { &escaped } else { &one };
        let digits = (0..bytes.len())
            .filter(|&at| bytes[at..].starts_with(number.as_bytes()))
            .map(|at| at + number.trim_end_matches('"').len() - FREE_DIGITS)
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

    #[test]
    fn other_systems_are_asked_in_their_own_form() {
        let target = Target::new("http://h:1", "").unwrap();
        let request = Kind::Foreign("/cgi-bin/sendsms?to={to}&text=hi".to_owned());
        let request = Template::new(&target, request, "").numbered(5).to_vec();
        let expected = "GET /cgi-bin/sendsms?to=%2B4915100000005&text=hi HTTP/1.1\r\nHost: h:1\r\n\r\n";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
    }

    #[test]
    fn what_counts_as_accepted() {
        for (kind, accepted, not) in [
            (Kind::Normal, 202, [200, 402, 503]),
            (Kind::Batch(10), 202, [200, 402, 503]),
            (Kind::Otp, 200, [202, 402, 503]),
            (Kind::Foreign(String::new()), 202, [302, 403, 503]),
        ] {
            assert!(kind.accepts(accepted), "{kind:?} {accepted}");
            assert!(!not.iter().any(|status| kind.accepts(*status)), "{kind:?}");
        }
    }
}
