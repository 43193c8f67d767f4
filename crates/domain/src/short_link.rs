//! Short links: their codes, where a text has addresses to be shortened, and who opens them. Pure.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::message::numbered;

/// What follows the domain in a short link: nine letters and digits, drawn at random, so that nobody finds one by trying.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Code(u64);

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ALL: u64 = 62u64.pow(Code::LEN as u32);

impl Code {
    /// Its length, characters.
    pub const LEN: usize = 9;
    /// As long as any other: for counting parts.
    pub const SAMPLE: Code = Code(0);

    /// Of 64 random bits.
    pub fn from_random(random: u64) -> Code {
        Code(random % ALL)
    }

    /// As it is stored.
    pub fn number(self) -> i64 {
        self.0 as i64
    }

    /// From its stored number.
    pub fn from_number(number: i64) -> Option<Code> {
        u64::try_from(number).ok().filter(|n| *n < ALL).map(Code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut text) = (self.0, [b'0'; Code::LEN]);
        for place in text.iter_mut().rev() {
            *place = ALPHABET[(rest % 62) as usize];
            rest /= 62;
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

/// A text that is no code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("nine letters and digits")]
pub struct CodeError;

impl FromStr for Code {
    type Err = CodeError;
    fn from_str(text: &str) -> Result<Code, CodeError> {
        if text.len() != Code::LEN {
            return Err(CodeError);
        }
        let digit = |sign: u8| ALPHABET.iter().position(|known| *known == sign).map(|n| n as u64);
        let number = text.bytes().try_fold(0, |sum, sign| digit(sign).map(|n| sum * 62 + n));
        number.map(Code).ok_or(CodeError)
    }
}

/// Where a text has web addresses: what begins with `http://` or `https://` at the beginning of a word, without the punctuation of the
/// sentence behind it.
pub fn addresses(text: &str) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(start) = ["http://", "https://"].iter().filter_map(|s| lower[from..].find(s)).min() {
        let start = from + start;
        let end = text[start..].find(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c));
        let whole = &text[start..end.map_or(text.len(), |end| start + end)];
        let mut address = whole;
        while let Some(last) = address.chars().next_back().filter(|c| ".,;:!?'”’»)]}".contains(*c)) {
            let opening = [(')', '('), (']', '['), ('}', '{')].iter().find(|(close, _)| *close == last);
            if opening.is_some_and(|(close, open)| address.matches(*open).count() >= address.matches(*close).count()) {
                break;
            }
            address = &address[..address.len() - last.len_utf8()];
        }
        from = start + whole.len();
        let inside = text[..start].chars().next_back().is_some_and(char::is_alphanumeric);
        let empty = address
            .split_once("://")
            .is_none_or(|(_, rest)| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '['));
        if !inside && !empty {
            found.push(start..start + address.len());
        }
    }
    found
}

/// A text with each of its addresses replaced.
pub fn replace(text: &str, mut by: impl FnMut(&str) -> String) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for at in addresses(text) {
        out.push_str(&text[from..at.start]);
        out.push_str(&by(&text[at.clone()]));
        from = at.end;
    }
    out.push_str(&text[from..]);
    out
}

numbered! {
    /// Who opened a short link, as far as the request tells.
    Visitor: i16 {
        /// Probably a person.
        Human = 0 "human",
        /// A program that says so, or that people do not use.
        Bot = 1 "bot",
        /// A preview that an app or a browser makes before anybody taps.
        Preview = 2 "preview",
    }
}

numbered! {
    /// What it was opened with.
    Device: i16 {
        /// Nothing that is known.
        Other = 0 "other",
        /// An Android phone.
        Android = 1 "android",
        /// An iPhone or iPad.
        Ios = 2 "ios",
        /// A computer.
        Desktop = 3 "desktop",
    }
}

/// Apps that fetch a link to show what is behind it; Apple's Messages calls itself by two of these names.
const PREVIEWS: [&str; 14] = [
    "facebookexternalhit",
    "facebot",
    "whatsapp",
    "telegrambot",
    "slackbot-linkexpanding",
    "slack-imgproxy",
    "discordbot",
    "twitterbot",
    "linkedinbot",
    "skypeuripreview",
    "viber",
    "google-pagerenderer",
    "snapchat",
    "preview",
];
/// What programs are called.
const BOTS: [&str; 20] = [
    "bot",
    "crawl",
    "spider",
    "slurp",
    "curl/",
    "wget/",
    "python",
    "go-http-client",
    "java/",
    "libwww",
    "httpclient",
    "axios",
    "node-fetch",
    "headless",
    "phantomjs",
    "scan",
    "monitor",
    "barracuda",
    "mimecast",
    "proofpoint",
];

impl Visitor {
    /// By the `User-Agent`, and by what `Sec-Purpose`, `Purpose`, `X-Purpose` or `X-Moz` say.
    pub fn of(agent: &str, purpose: &str) -> Visitor {
        let (agent, purpose) = (agent.to_ascii_lowercase(), purpose.to_ascii_lowercase());
        let named = |names: &[&str]| names.iter().any(|name| agent.contains(name));
        if purpose.contains("prefetch") || purpose.contains("preview") || named(&PREVIEWS) {
            Visitor::Preview
        } else if agent.is_empty() || named(&BOTS) {
            Visitor::Bot
        } else {
            Visitor::Human
        }
    }
}

impl Device {
    /// By the `User-Agent`.
    pub fn of(agent: &str) -> Device {
        let has = |name| agent.contains(name);
        if has("Android") {
            Device::Android
        } else if has("iPhone") || has("iPad") || has("iPod") {
            Device::Ios
        } else if has("Windows NT") || has("Macintosh") || has("X11") || has("CrOS") {
            Device::Desktop
        } else {
            Device::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn where_a_text_has_addresses() {
        let rows: &[(&str, &[&str])] = &[
            ("", &[]),
            ("see https://a.example/b?c=d#e now", &["https://a.example/b?c=d#e"]),
            ("https://a.example", &["https://a.example"]),
            ("HTTP://A.EXAMPLE/x.", &["HTTP://A.EXAMPLE/x"]),
            ("(https://a.example/x) https://b.example/f(x)!", &["https://a.example/x", "https://b.example/f(x)"]),
            ("\"https://a.example/x\", 'https://b.example'", &["https://a.example/x", "https://b.example"]),
            ("https://a.example/ü€?q=ä", &["https://a.example/ü€?q=ä"]),
            ("https:// http://. https:///x", &[]),
            ("xhttps://a.example www.a.example a.example ftp://a.example", &[]),
            ("https://a.example\nhttps://b.example", &["https://a.example", "https://b.example"]),
            ("https://[2001:db8::1]/x", &["https://[2001:db8::1]/x"]),
            ("<https://a.example/x>", &["https://a.example/x"]),
            ("İ https://a.example/İ!", &["https://a.example/İ"]),
        ];
        for (text, expected) in rows {
            let found: Vec<&str> = addresses(text).into_iter().map(|at| &text[at]).collect();
            assert_eq!(found, *expected, "{text}");
        }
        assert_eq!(replace("a https://b.example, c", |was| format!("[{}]", was.len())), "a [17], c");
    }

    #[test]
    fn who_opens_a_link() {
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";
        let android = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36";
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0";
        let messages = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0";
        let googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
        #[rustfmt::skip]
        let rows = [
            (iphone, "", Visitor::Human, Device::Ios),
            (android, "", Visitor::Human, Device::Android),
            (windows, "", Visitor::Human, Device::Desktop),
            (android, "prefetch;prerender", Visitor::Preview, Device::Android),
            (iphone, "preview", Visitor::Preview, Device::Ios),
            (messages, "", Visitor::Preview, Device::Desktop),
            ("WhatsApp/2.23.20.0", "", Visitor::Preview, Device::Other),
            ("TelegramBot (like TwitterBot)", "", Visitor::Preview, Device::Other),
            (googlebot, "", Visitor::Bot, Device::Other),
            ("curl/8.5.0", "", Visitor::Bot, Device::Other),
            ("", "", Visitor::Bot, Device::Other),
        ];
        for (agent, purpose, visitor, device) in rows {
            assert_eq!((Visitor::of(agent, purpose), Device::of(agent)), (visitor, device), "{agent} {purpose}");
        }
    }

    #[test]
    fn texts_that_are_no_codes() {
        for text in ["", "12345678", "1234567890", "12345678-", "ä2345678", "../../etc", "12345678/"] {
            assert_eq!(text.parse::<Code>(), Err(CodeError), "{text}");
        }
        assert_eq!(Code::from_number(-1), None);
        assert_eq!(Code::from_number(ALL as i64), None);
    }

    proptest! {
        #[test]
        fn a_code_is_read_as_it_was_written(random: u64) {
            let code = Code::from_random(random);
            let text = code.to_string();
            prop_assert_eq!(text.len(), Code::LEN);
            prop_assert_eq!(text.parse(), Ok(code));
            prop_assert_eq!(Code::from_number(code.number()), Some(code));
        }

        #[test]
        fn addresses_lie_within_the_text_and_apart(text in "[a-z:/.()<> ßht]{0,40}(https?://)?\\PC{0,40}") {
            let mut end = 0;
            for at in addresses(&text) {
                prop_assert!(at.start >= end && text[at.clone()].contains("://"));
                end = at.end;
            }
            prop_assert_eq!(replace(&text, str::to_owned), text);
        }
    }
}
