//! Registered templates (India's DLT and its like): a text may go only if it fits one, under that one's id and with its variables.
//! The settings list them, one in a line: `id: text`, variables as `##NAME##` or `{#var#}`, a line break as `\n`.

use crate::field::{Credentials, Field, Kind};

/// The settings field of a provider that needs templates.
pub(crate) const FIELD: Field = Field {
    name: "templates",
    label: "Registered templates",
    kind: Kind::Checked(check),
    required: false,
    help: "One in a line: its id, a colon, its text as registered. Variables are ##NAME## or {#var#}, a line break is \\n.",
};

/// A template that a text fits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Match<'a> {
    /// The template's id.
    pub(crate) id: &'a str,
    /// Its variables by name, in order.
    pub(crate) variables: Vec<(&'a str, &'a str)>,
}

/// The first template of the settings that `text` fits.
pub(crate) fn find<'a>(credentials: &'a Credentials, text: &'a str) -> Option<Match<'a>> {
    lines(credentials.get("templates")).find_map(|(id, pattern)| {
        let pattern = pieces(pattern)?;
        fit(&pattern, text).map(|variables| Match { id, variables })
    })
}

/// What is wrong with a list of templates.
fn check(list: &str) -> Result<(), String> {
    for (number, line) in list.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |what: &str| Err(format!("line {}: {what}", number + 1));
        let Some((id, text)) = line.split_once(':') else { return wrong("an id, a colon and the text") };
        if id.trim().is_empty() || text.trim().is_empty() {
            return wrong("an id, a colon and the text");
        }
        if pieces(text.trim()).is_none() {
            return wrong("a variable is ##NAME## or {#var#}, and between two of them stands some text");
        }
    }
    Ok(())
}

fn lines(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.lines().filter_map(|line| line.split_once(':')).map(|(id, text)| (id.trim(), text.trim()))
}

/// A template taken apart: the text before the first variable, then each variable's name and the text behind it.
struct Pattern<'a> {
    head: String,
    rest: Vec<(&'a str, String)>,
}

/// None if a variable has no end, no name, or no text before the next: where one ends could not be told.
fn pieces(text: &str) -> Option<Pattern<'_>> {
    let mut pattern = Pattern { head: String::new(), rest: Vec::new() };
    let mut left = text;
    loop {
        let (before, variable, after) = next_variable(left)?;
        let literal = before.replace("\\n", "\n");
        match pattern.rest.last_mut() {
            None => pattern.head = literal,
            Some(_) if literal.is_empty() && variable.is_some() => return None,
            Some(last) => last.1 = literal,
        }
        let Some(name) = variable else { return Some(pattern) };
        pattern.rest.push((name, String::new()));
        left = after;
    }
}

/// The text before the next variable, its name, and what follows.
fn next_variable(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (at, open, close) = match (text.find("##"), text.find("{#")) {
        (None, None) => return Some((text, None, "")),
        (Some(hashes), braces) if braces.is_none_or(|braces| hashes < braces) => (hashes, 2, "##"),
        (_, braces) => (braces?, 2, "#}"),
    };
    let (name, after) = text[at + open..].split_once(close)?;
    if name.is_empty() { None } else { Some((&text[..at], Some(name), after)) }
}

fn fit<'a>(pattern: &Pattern<'a>, text: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let mut left = text.strip_prefix(pattern.head.as_str())?;
    let mut variables = Vec::with_capacity(pattern.rest.len());
    let Some((last, others)) = pattern.rest.split_last() else {
        return left.is_empty().then_some(variables);
    };
    for (name, behind) in others {
        let (value, after) = left.split_once(behind.as_str())?;
        variables.push((*name, value));
        left = after;
    }
    variables.push((last.0, left.strip_suffix(last.1.as_str())?));
    Some(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "otp1: Your code is ##OTP##.\n\
                        pay2: Dear {#name#}, Rs {#sum#} is due:\\npay at {#link#}\n\
                        hey3: Open today\n";

    #[test]
    fn a_text_finds_its_template_or_none() {
        let credentials: Credentials = [("templates", LIST)].into_iter().collect();
        let table: &[(&str, Option<(&str, &[(&str, &str)])>)] = &[
            ("Your code is 123456.", Some(("otp1", &[("OTP", "123456")]))),
            ("Your code is .", Some(("otp1", &[("OTP", "")]))),
            ("Your code is 123456", None),
            ("your code is 123456.", None),
            (
                "Dear A, B, Rs 5 is due:\npay at https://x/?a=1",
                Some(("pay2", &[("name", "A, B"), ("sum", "5"), ("link", "https://x/?a=1")])),
            ),
            ("Open today", Some(("hey3", &[]))),
            ("Open today!", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = find(&credentials, text);
            let expected = expected.map(|(id, variables)| Match { id, variables: variables.to_vec() });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_refused_by_line() {
        let table = [
            (LIST, true),
            ("", true),
            ("\n a: b \n", true),
            ("a", false),
            ("a:", false),
            (": b", false),
            ("a: ##X", false),
            ("a: ####", false),
            ("a: ##X####Y##", false),
            ("a: {#x#} {#y#}", true),
            ("a: {#x#", false),
        ];
        for (list, good) in table {
            assert_eq!(check(list).is_ok(), good, "{list}");
        }
        assert_eq!(check("a: b\nc").unwrap_err(), "line 2: an id, a colon and the text");
    }
}
