//! Reads a text with places: where it cannot be read, where that is and what may stand there.

use super::{Comparison, Expr, Filter, NAME_MAX, Piece};

/// How deep conditions and brackets may be inside one another.
const DEPTH_MAX: usize = 16;
/// Words of the language that are no names.
const RESERVED: &[&str] =
    &["true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else"];

/// Why a text is no template.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`, or `{%` without `%}`.
    #[error("{{{{ at character {0} has no }}}}; two opening braces as text are written {{{{ \"{{{{\" }}}}")]
    Open(usize),
    /// Between the braces stands something else.
    #[error(
        "at character {0}: between the braces stands a name of letters, digits and _, perhaps with a fallback: {{{{name|default(\"friend\")}}}}"
    )]
    Expression(usize),
    /// A filter there is not, or with something else in its brackets.
    #[error(
        "at character {0}: the filters are default(\"…\"), upper, lower, title, capitalize, trim, truncate(20), date(\"%d.%m.%Y\"), int, float and length"
    )]
    Filter(usize),
    /// What is compared is not of one kind.
    #[error(
        "at character {0}: words are texts: compare them with texts, city == \"Bonn\", or as numbers, points|int > 100"
    )]
    Kinds(usize),
    /// What decides is no condition.
    #[error("at character {0}: a condition is a comparison, city == \"Bonn\", or name is defined")]
    Condition(usize),
    /// Statements and comments that there are not: loops and the like.
    #[error(
        "at character {0}: of statements there are {{% if %}}, {{% elif %}}, {{% else %}} and {{% endif %}}; as text {{% is written {{{{ \"{{%\" }}}}"
    )]
    Statement(usize),
    /// `{% if %}` and `{% endif %}` do not pair.
    #[error("at character {0}: each {{% if %}} ends with one {{% endif %}}")]
    Unpaired(usize),
    /// Too much inside one another.
    #[error("at character {0}: at most {DEPTH_MAX} conditions or brackets inside one another")]
    Deep(usize),
}

/// What an expression is, known before it is filled in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
}

/// Why an expression cannot be read; where is known outside.
enum Wrong {
    Expression,
    Filter,
    Kinds,
    Condition,
    Deep,
}

/// What ended a run of pieces.
enum Stop {
    Text,
    Elif(usize),
    Else(usize),
    EndIf(usize),
}

pub(super) fn template(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut reader = Reader { whole: text, rest: text };
    match reader.pieces(0)? {
        (pieces, Stop::Text) => Ok(pieces),
        (_, Stop::Elif(at) | Stop::Else(at) | Stop::EndIf(at)) => Err(TemplateError::Unpaired(at)),
    }
}

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Pieces up to the end, or to a word that ends this branch.
    fn pieces(&mut self, depth: usize) -> Result<(Vec<Piece>, Stop), TemplateError> {
        let mut pieces = Vec::new();
        loop {
            let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|mark| self.rest.find(mark)).min() else {
                push(&mut pieces, self.rest);
                self.rest = "";
                return Ok((pieces, Stop::Text));
            };
            let (before, tag) = self.rest.split_at(start);
            push(&mut pieces, before);
            let at = self.whole[..self.whole.len() - tag.len()].chars().count();
            self.rest = &tag[2..];
            match &tag[..2] {
                "{{" => match self.inside(at, "}}", |cursor| cursor.any(0))?.0 {
                    Expr::Text(text) => push(&mut pieces, &text),
                    expr => pieces.push(shown(expr)),
                },
                "{%" => match self.word() {
                    "if" if depth == DEPTH_MAX => return Err(TemplateError::Deep(at)),
                    "if" => {
                        let piece = self.condition(at, depth)?;
                        pieces.push(piece);
                    }
                    "elif" => return Ok((pieces, Stop::Elif(at))),
                    "else" => return self.close(at).map(|()| (pieces, Stop::Else(at))),
                    "endif" => return self.close(at).map(|()| (pieces, Stop::EndIf(at))),
                    _ => return Err(TemplateError::Statement(at)),
                },
                _ => return Err(TemplateError::Statement(at)),
            }
        }
    }

    /// What follows `{% if`, with all its branches.
    fn condition(&mut self, at: usize, depth: usize) -> Result<Piece, TemplateError> {
        let mut cases = Vec::new();
        let mut place = at;
        loop {
            let condition = self.inside(place, "%}", Cursor::truth)?;
            let (pieces, stop) = self.pieces(depth + 1)?;
            cases.push((condition, pieces));
            match stop {
                Stop::Elif(at) => place = at,
                Stop::EndIf(_) => return Ok(Piece::If { cases, otherwise: Vec::new() }),
                Stop::Else(_) => {
                    return match self.pieces(depth + 1)? {
                        (otherwise, Stop::EndIf(_)) => Ok(Piece::If { cases, otherwise }),
                        (_, Stop::Elif(at) | Stop::Else(at)) => Err(TemplateError::Unpaired(at)),
                        (_, Stop::Text) => Err(TemplateError::Unpaired(at)),
                    };
                }
                Stop::Text => return Err(TemplateError::Unpaired(at)),
            }
        }
    }

    /// Reads something up to and with what closes its braces.
    fn inside<T>(
        &mut self,
        at: usize,
        close: &str,
        read: impl FnOnce(&mut Cursor<'a>) -> Result<T, Wrong>,
    ) -> Result<T, TemplateError> {
        let mut cursor = Cursor(self.rest.trim_start());
        let done = read(&mut cursor);
        match (done, cursor.0.strip_prefix(close)) {
            (Ok(done), Some(rest)) => {
                self.rest = rest;
                Ok(done)
            }
            (Err(Wrong::Kinds), _) => Err(TemplateError::Kinds(at)),
            (Err(Wrong::Condition), _) => Err(TemplateError::Condition(at)),
            (Err(Wrong::Deep), _) => Err(TemplateError::Deep(at)),
            _ if !cursor.0.contains(close) => Err(TemplateError::Open(at)),
            (Err(Wrong::Filter), _) => Err(TemplateError::Filter(at)),
            _ => Err(TemplateError::Expression(at)),
        }
    }

    /// The word behind `{%`.
    fn word(&mut self) -> &'a str {
        let mut cursor = Cursor(self.rest.trim_start());
        let word = cursor.word();
        self.rest = cursor.0;
        word
    }

    fn close(&mut self, at: usize) -> Result<(), TemplateError> {
        self.rest = self.rest.strip_prefix("%}").ok_or(TemplateError::Statement(at))?;
        Ok(())
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

fn shown(expr: Expr) -> Piece {
    match expr {
        Expr::Name(name) => Piece::Variable { name, fallback: None },
        Expr::Filtered(inner, Filter::Default(fallback)) => match (*inner, *fallback) {
            (Expr::Name(name), Expr::Text(text)) => Piece::Variable { name, fallback: Some(text) },
            (inner, fallback) => Piece::Shown(Expr::Filtered(inner.into(), Filter::Default(fallback.into()))),
        },
        other => Piece::Shown(other),
    }
}

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

    /// A word of the language, if it comes next.
    fn keyword(&mut self, wanted: &str) -> bool {
        let before = self.0;
        let found = self.word() == wanted;
        if !found {
            self.0 = before;
        }
        found
    }

    fn name(&mut self) -> Option<&'a str> {
        let name = self.word();
        let fine = name.starts_with(|c: char| !c.is_ascii_digit()) && name.len() <= NAME_MAX;
        (fine && !RESERVED.contains(&name)).then_some(name)
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

    /// An expression that is a condition.
    fn truth(&mut self) -> Result<Expr, Wrong> {
        match self.any(0)? {
            (expr, Kind::Truth) => Ok(expr),
            _ => Err(Wrong::Condition),
        }
    }

    /// `a or b`.
    fn any(&mut self, depth: usize) -> Result<(Expr, Kind), Wrong> {
        if depth > DEPTH_MAX {
            return Err(Wrong::Deep);
        }
        let mut left = self.all(depth)?;
        while self.keyword("or") {
            let right = self.all(depth)?;
            left = both(left, right, Expr::Or)?;
        }
        Ok(left)
    }

    /// `a and b`.
    fn all(&mut self, depth: usize) -> Result<(Expr, Kind), Wrong> {
        let mut left = self.not(depth)?;
        while self.keyword("and") {
            let right = self.not(depth)?;
            left = both(left, right, Expr::And)?;
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Result<(Expr, Kind), Wrong> {
        if !self.keyword("not") {
            return self.compared(depth);
        }
        if depth > DEPTH_MAX {
            return Err(Wrong::Deep);
        }
        match self.not(depth + 1)? {
            (expr, Kind::Truth) => Ok((Expr::Not(expr.into()), Kind::Truth)),
            _ => Err(Wrong::Condition),
        }
    }

    fn compared(&mut self, depth: usize) -> Result<(Expr, Kind), Wrong> {
        use Comparison::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, NotIn, Unequal};
        let (left, kind) = self.filtered(depth)?;
        if self.keyword("is") {
            let not = self.keyword("not");
            let defined = match self.word() {
                "defined" => !not,
                "undefined" => not,
                _ => return Err(Wrong::Condition),
            };
            let Expr::Name(name) = left else { return Err(Wrong::Condition) };
            let test = Expr::Defined(name);
            return Ok((if defined { test } else { Expr::Not(test.into()) }, Kind::Truth));
        }
        let signs =
            [("==", Equal), ("!=", Unequal), ("<=", LessOrEqual), (">=", GreaterOrEqual), ("<", Less), (">", Greater)];
        let sign = signs.into_iter().find(|(sign, _)| self.take(sign)).map(|(_, how)| how);
        let how = match sign {
            Some(how) => how,
            None if self.keyword("in") => In,
            None if self.keyword("not") => match self.keyword("in") {
                true => NotIn,
                false => return Err(Wrong::Expression),
            },
            None => return Ok((left, kind)),
        };
        let (right, other) = self.filtered(depth)?;
        let fits = kind == other && (kind == Kind::Text || kind == Kind::Number && !matches!(how, In | NotIn));
        match fits {
            true => Ok((Expr::Compared(left.into(), how, right.into()), Kind::Truth)),
            false => Err(Wrong::Kinds),
        }
    }

    /// A value and the filters behind it.
    fn filtered(&mut self, depth: usize) -> Result<(Expr, Kind), Wrong> {
        let (mut expr, mut kind) = self.value(depth)?;
        let mut filters = 0;
        while self.take("|") {
            filters += 1;
            if filters > DEPTH_MAX {
                return Err(Wrong::Deep);
            }
            let filter = self.filter(kind, depth)?;
            kind = match filter {
                Filter::Int | Filter::Float | Filter::Length => Kind::Number,
                Filter::Default(_) => kind,
                _ => Kind::Text,
            };
            expr = Expr::Filtered(expr.into(), filter);
        }
        Ok((expr, kind))
    }

    fn value(&mut self, depth: usize) -> Result<(Expr, Kind), Wrong> {
        if let Some(text) = self.quoted() {
            return Ok((Expr::Text(text.into()), Kind::Text));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            return if self.take(")") { Ok(inner) } else { Err(Wrong::Expression) };
        }
        if self.0.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok((Expr::Number(self.number()?), Kind::Number));
        }
        let name = self.name().ok_or(Wrong::Expression)?;
        Ok((Expr::Name(name.into()), Kind::Text))
    }

    fn number(&mut self) -> Result<f64, Wrong> {
        let end = self.0.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        // `1st` is neither a number nor a name.
        if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(Wrong::Expression);
        }
        self.0 = rest.trim_start();
        digits.parse().map_err(|_| Wrong::Expression)
    }

    fn filter(&mut self, of: Kind, depth: usize) -> Result<Filter, Wrong> {
        let name = self.word();
        let plain = match name {
            "upper" => Some(Filter::Upper),
            "lower" => Some(Filter::Lower),
            "title" => Some(Filter::Title),
            "capitalize" => Some(Filter::Capitalize),
            "trim" => Some(Filter::Trim),
            "int" => Some(Filter::Int),
            "float" => Some(Filter::Float),
            "length" => Some(Filter::Length),
            _ => None,
        };
        if let Some(filter) = plain {
            return if of == Kind::Truth { Err(Wrong::Filter) } else { Ok(filter) };
        }
        if of == Kind::Truth || !self.take("(") {
            return Err(Wrong::Filter);
        }
        let filter = match name {
            "default" => match self.any(depth + 1)? {
                (fallback, kind) if kind == of => Filter::Default(fallback.into()),
                _ => return Err(Wrong::Filter),
            },
            "truncate" => match self.number()? {
                n if (4.0..=1_600.0).contains(&n) && n.fract() == 0.0 => Filter::Truncate(n as usize),
                _ => return Err(Wrong::Filter),
            },
            "date" => Filter::Date(self.pattern().ok_or(Wrong::Filter)?.into()),
            _ => return Err(Wrong::Filter),
        };
        if self.take(")") { Ok(filter) } else { Err(Wrong::Filter) }
    }

    /// A pattern for days, one that can be written.
    fn pattern(&mut self) -> Option<String> {
        let pattern = self.quoted().filter(|pattern| pattern.len() <= 64)?;
        // Widths (`%999d`) would make a text of any length.
        let wide = pattern.as_bytes().windows(2).any(|w| w[0] == b'%' && w[1].is_ascii_digit());
        let day = jiff::civil::date(2026, 11, 21).at(12, 0, 0, 0);
        (!wide && jiff::fmt::strtime::format(&pattern, day).is_ok()).then_some(pattern)
    }
}

fn both(
    (a, a_kind): (Expr, Kind),
    (b, b_kind): (Expr, Kind),
    join: fn(Box<Expr>, Box<Expr>) -> Expr,
) -> Result<(Expr, Kind), Wrong> {
    match (a_kind, b_kind) {
        (Kind::Truth, Kind::Truth) => Ok((join(a.into(), b.into()), Kind::Truth)),
        _ => Err(Wrong::Condition),
    }
}
