//! Texts with places for each recipient's own words: `Hello {{name|default("friend")}}`.
//!
//! What is between the braces is a name, or a quoted text, perhaps with a fallback in `default("…")` for recipients without that
//! name. It is a part of the language of Jinja, chosen so that each text taken here means the same there; the rest of that language
//! is refused rather than sent as it stands.

/// The longest name of a variable, in characters.
pub const NAME_MAX: usize = 64;

/// A text taken apart once, to be filled in many times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Vec<Piece>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    /// As it stands.
    Fixed(Box<str>),
    /// Each recipient's own.
    Variable { name: Box<str>, fallback: Option<Box<str>> },
}

/// Why a text is no template.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("{{{{ at character {0} has no }}}}; two opening braces as text are written {{{{ \"{{{{\" }}}}")]
    Open(usize),
    /// Between the braces stands something else.
    #[error(
        "at character {0}: between the braces stands a name of letters, digits and _, perhaps with a fallback: {{{{name|default(\"friend\")}}}}"
    )]
    Expression(usize),
    /// `{%` and `{#`: statements and comments.
    #[error("at character {0}: {{% and {{# cannot stand in a text with variables; write {{{{ \"{{%\" }}}}")]
    Statement(usize),
}

impl Template {
    /// Whether a text has places to fill in at all.
    pub fn is_in(text: &str) -> bool {
        text.contains("{{")
    }

    /// Takes a text apart.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|mark| rest.find(mark)).min() {
            let at = text[..text.len() - rest.len() + start].chars().count();
            if !rest[start..].starts_with("{{") {
                return Err(TemplateError::Statement(at));
            }
            push(&mut pieces, &rest[..start]);
            let (piece, after) = expression(&rest[start + 2..]).map_err(|open| match open {
                true => TemplateError::Open(at),
                false => TemplateError::Expression(at),
            })?;
            match piece {
                Piece::Fixed(text) => push(&mut pieces, &text),
                variable => pieces.push(variable),
            }
            rest = after;
        }
        push(&mut pieces, rest);
        Ok(Template(pieces))
    }

    /// The text with every place filled in; `value` knows what a recipient has for a name. `Err` names what it has not and what has no
    /// fallback.
    pub fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Result<String, &str> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Fixed(text) => out.push_str(text),
                Piece::Variable { name, fallback } => {
                    out.push_str(value(name).or(fallback.as_deref()).ok_or(&**name)?);
                }
            }
        }
        Ok(out)
    }

    /// The text without anything filled in: the least that any recipient gets.
    pub fn fixed(&self) -> String {
        let fixed = self.0.iter().map(|piece| match piece {
            Piece::Fixed(text) => &**text,
            Piece::Variable { .. } => "",
        });
        fixed.collect()
    }
}

/// Texts that follow one another are one piece.
fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Fixed(last)) => *last = [last, text].concat().into(),
        _ => pieces.push(Piece::Fixed(text.into())),
    }
}

/// Reads up to and with `}}`. `Err(true)` if that never comes.
fn expression(text: &str) -> Result<(Piece, &str), bool> {
    let mut cursor = Cursor(text.trim_start());
    if let Some(quoted) = cursor.quoted() {
        return cursor.close(Piece::Fixed(quoted.into()));
    }
    let name = cursor.name().ok_or_else(|| !text.contains("}}"))?;
    let fallback = if cursor.take("|") { Some(cursor.fallback().ok_or(!text.contains("}}"))?.into()) } else { None };
    cursor.close(Piece::Variable { name: name.into(), fallback })
}

/// Words of the language that are no names.
const RESERVED: &[&str] =
    &["true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else"];

/// What is left to read of an expression; spaces between its words mean nothing.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn take(&mut self, sign: &str) -> bool {
        let rest = self.0.strip_prefix(sign);
        self.0 = rest.unwrap_or(self.0).trim_start();
        rest.is_some()
    }

    fn word(&mut self) -> &'a str {
        let end = self.0.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest.trim_start();
        word
    }

    fn name(&mut self) -> Option<&'a str> {
        let name = self.word();
        let fine = name.starts_with(|c: char| !c.is_ascii_digit()) && name.len() <= NAME_MAX;
        (fine && !RESERVED.contains(&name)).then_some(name)
    }

    fn fallback(&mut self) -> Option<String> {
        if self.word() != "default" || !self.take("(") {
            return None;
        }
        let text = self.quoted()?;
        self.take(")").then_some(text)
    }

    /// A text in quotes of either kind; a backslash keeps a quote or a backslash.
    fn quoted(&mut self) -> Option<String> {
        let quote = self.0.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let mut out = String::new();
        let mut chars = self.0.char_indices().skip(1);
        loop {
            match chars.next()? {
                (at, c) if c == quote => {
                    self.0 = self.0[at + 1..].trim_start();
                    return Some(out);
                }
                (_, '\\') => out.push(chars.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\'' | '\\'))?),
                (_, c) => out.push(c),
            }
        }
    }

    fn close(self, piece: Piece) -> Result<(Piece, &'a str), bool> {
        match self.0.strip_prefix("}}") {
            Some(rest) => Ok((piece, rest)),
            None => Err(!self.0.contains("}}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(text: &str) -> Result<String, String> {
        let value = |name: &str| match name {
            "name" => Some("Ada"),
            "sum_2" => Some("12.50"),
            "empty" => Some(""),
            "code" => Some("{{name}}"),
            _ => None,
        };
        let template = Template::parse(text).map_err(|e| e.to_string())?;
        template.fill(value).map_err(str::to_owned)
    }

    #[test]
    fn texts_and_what_a_recipient_reads() {
        for (text, expected) in [
            ("", ""),
            ("plain { text } }}", "plain { text } }}"),
            ("Hi {{name}}!", "Hi Ada!"),
            ("{{ name }}{{\tsum_2\n}}", "Ada12.50"),
            ("Hi {{first|default(\"friend\")}}.", "Hi friend."),
            ("Hi {{ first | default( 'you' ) }}.", "Hi you."),
            ("{{name|default(\"friend\")}}", "Ada"),
            ("[{{empty|default(\"x\")}}]", "[]"),
            ("{{first|default(\"say \\\"hi\\\" }}\")}}", "say \"hi\" }}"),
            ("{{ \"{{\" }}name}}", "{{name}}"),
            ("{{ '{%' }}", "{%"),
            ("{{code}}", "{{name}}"),
            ("Grüße, {{name}} 😀", "Grüße, Ada 😀"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(filled("{{name}} {{last}}"), Err("last".into()), "what is missing is named");
        assert_eq!(Template::parse("a{{x}}b{{ \"c\" }}d").map(|t| t.fixed()), Ok("abcd".into()));
    }

    #[test]
    fn texts_that_are_refused_and_where() {
        use TemplateError::{Expression, Open, Statement};
        for (text, error) in [
            ("{{", Open(0)),
            ("é {{name", Open(2)),
            ("{{name|default(\"x\")", Open(0)),
            ("{{}}", Expression(0)),
            ("ab{{ }}", Expression(2)),
            ("{{1st}}", Expression(0)),
            ("{{first name}}", Expression(0)),
            ("{{name.first}}", Expression(0)),
            ("{{name|upper}}", Expression(0)),
            ("{{name|\"friend\"}}", Expression(0)),
            ("{{name|default(friend)}}", Expression(0)),
            ("{{name|default(\"a\\n\")}}", Expression(0)),
            ("{{true}}", Expression(0)),
            ("{{-name}}", Expression(0)),
            ("{{name}} {% if x %}", Statement(9)),
            ("{# {{name}} #}", Statement(0)),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
        let long = format!("{{{{{}}}}}", "n".repeat(NAME_MAX + 1));
        assert_eq!(Template::parse(&long), Err(Expression(0)));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[a{}%#|\"'\\\\ d(e)]{0,40}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert!(template.fill(|_| Some("v")).is_ok());
            }
        }

        #[test]
        fn without_places_it_is_the_text(text in "[^{]{0,40}") {
            let template = Template::parse(&text);
            prop_assert_eq!(template.map(|t| t.fixed()), Ok(text));
        }
    }
}
