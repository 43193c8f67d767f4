//! What mails say. Each has one text, whose first line is its subject; the same paragraphs are its HTML. What people and customers named
//! is escaped there, and cannot end a line of the header.

use std::collections::BTreeMap;

use carillon_domain::template::Template;
use carillon_store::email::EmailKind;

/// Words for the places of a text, by name.
pub(super) type Words = BTreeMap<String, String>;

/// A mail as people read it.
#[derive(Debug)]
pub(super) struct Letter {
    /// One line.
    pub(super) subject: String,
    /// For those who read text.
    pub(super) text: String,
    /// The same for the others.
    pub(super) html: String,
    /// A file that goes with it: its name, and a table as CSV.
    pub(super) attachment: Option<(String, String)>,
}

fn source(kind: EmailKind) -> &'static str {
    match kind {
        EmailKind::Verification => include_str!("verification.txt"),
        EmailKind::Welcome => include_str!("welcome.txt"),
        EmailKind::PasswordReset => include_str!("password_reset.txt"),
        EmailKind::WebhookDisabled => include_str!("webhook_disabled.txt"),
        EmailKind::CampaignPaused => include_str!("campaign_paused.txt"),
        EmailKind::Report => include_str!("report.txt"),
    }
}

/// Writes the mail. `None` if words are missing: it was queued by another version.
pub(super) fn compose(kind: EmailKind, words: &Words) -> Option<Letter> {
    let (subject, body) = source(kind).split_once("\n\n").expect("a text begins with its subject and an empty line");
    let fill = |text: &str| {
        let template = Template::parse(text).expect("a test reads every text");
        template.fill(|name| words.get(name).map(String::as_str)).ok()
    };
    let (subject, text) = (one_line(&fill(subject)?), fill(body)?);
    // The paragraph that is nothing but the link can be clicked.
    let paragraphs = body.trim().split("\n\n").map(|paragraph| {
        let filled = escape(&fill(paragraph)?);
        let link = paragraph == "{{link}}";
        Some(if link { format!("<p><a href=\"{filled}\">{filled}</a></p>\n") } else { format!("<p>{filled}</p>\n") })
    });
    let paragraphs: String = paragraphs.collect::<Option<_>>()?;
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n\
         <body style=\"font-family: sans-serif; line-height: 1.5; max-width: 40em\">\n{paragraphs}</body>\n</html>\n",
        escape(&subject)
    );
    let attachment = words.get("file").cloned().zip(words.get("csv").cloned());
    Some(Letter { subject, text, html, attachment })
}

/// A text of one line: what would end it is a space.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || "\u{2028}\u{2029}".contains(c) { ' ' } else { c }).collect()
}

/// For HTML, within elements and within quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str) -> Words {
        let link = "https://a.example/verify-email#token=x&y";
        [
            ("name", name),
            ("link", link),
            ("until", "noon"),
            ("endpoint", "whe_1"),
            ("account", "Acme"),
            ("origin", "https://b.example"),
        ]
        .into_iter()
        .chain([("at", "noon"), ("reason", "it answered 410"), ("days", "7"), ("campaign", "Menu"), ("id", "cmp_1")])
        .chain([
            ("report", "Countries"),
            ("from", "2026-11-01"),
            ("to", "2026-11-30"),
            ("summary", "accepted: 5"),
            ("id", "rpt_1"),
        ])
        .map(|(name, word)| (name.to_owned(), word.to_owned()))
        .collect()
    }

    #[test]
    fn every_text_is_whole_in_both_forms() {
        for kind in EmailKind::ALL {
            let letter = compose(kind, &words("Ada")).unwrap();
            assert!(!letter.subject.is_empty() && letter.subject.len() < 78, "{}", letter.subject);
            for form in [&letter.text, &letter.html] {
                assert!(form.contains("Hello Ada,") && !form.contains("{{"), "{form}");
            }
            assert!(compose(kind, &Words::new()).is_none(), "words are missing");
        }
    }

    #[test]
    fn names_are_no_html() {
        let letter = compose(EmailKind::Verification, &words("<img src=x onerror='a'>\"&{{link}}")).unwrap();
        assert!(
            letter.html.contains("Hello &lt;img src=x onerror=&#39;a&#39;&gt;&quot;&amp;{{link}},"),
            "{}",
            letter.html
        );
        let link = "https://a.example/verify-email#token=x&amp;y";
        assert!(letter.html.contains(&format!("<p><a href=\"{link}\">{link}</a></p>")), "{}", letter.html);
        assert!(letter.text.contains("\nhttps://a.example/verify-email#token=x&y\n"), "{}", letter.text);
    }

    #[test]
    fn a_subject_is_one_line() {
        assert_eq!(one_line("a\r\nBcc: b@c.d\u{2028}\u{0}e"), "a  Bcc: b@c.d  e");
    }
}
