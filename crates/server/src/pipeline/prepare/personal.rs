//! Messages of a batch that are not all alike: places in the text that each recipient fills with words of its own.

use std::borrow::Cow;

use carillon_domain::encoding;
use carillon_domain::message::Flags;
use carillon_domain::phone::Parsed;
use carillon_domain::template::Template;
use carillon_store::hot::NewMessage;

use super::{CLIENT_REF_MAX, Content, Draft, Mistake, Rules, label};

/// What a recipient has of its own.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    /// Its word for a name in the text.
    pub value: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The caller's own name for this message.
    pub client_ref: Option<&'a str>,
}

impl Own<'_> {
    /// Nothing: a number alone.
    pub const NOTHING: Own<'static> = Own { value: &|_| None, client_ref: None };
}

impl std::fmt::Debug for Own<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("client_ref", &self.client_ref).finish_non_exhaustive()
    }
}

/// The text taken apart, if it is a batch's and has places to fill in.
pub(super) fn template(draft: &Draft<'_>, body: &str) -> Result<Option<Template>, Mistake> {
    if !draft.bulk || draft.data.is_some() || !Template::is_in(body) {
        return Ok(None);
    }
    Template::parse(body).map(Some).map_err(|e| Mistake::new("text", "invalid_template", e.to_string()))
}

impl Content {
    /// The message to one recipient of a batch, priced by what that recipient will read.
    pub fn message_of(&self, rules: &Rules<'_>, to: Parsed, index: u32, own: &Own<'_>) -> Result<NewMessage, Mistake> {
        let mut message = self.message(rules, to, index, false).map_err(|m| Mistake {
            index: Some(index as usize),
            field: "to",
            ..m
        })?;
        if let Some(template) = &self.template {
            self.fill(template, &mut message, own, rules).map_err(|m| Mistake { index: Some(index as usize), ..m })?;
            message.reference = (message.parts > 1).then(|| rules.references.next(message.phone_tag));
        }
        if let Some(client_ref) = own.client_ref {
            label(client_ref, CLIENT_REF_MAX).map_err(|(code, detail)| {
                Mistake { index: Some(index as usize), ..Mistake::new("to", code, detail) }.inside("client_ref")
            })?;
            message.extra.get_or_insert_default().client_ref = Some(client_ref.to_owned());
        }
        Ok(message)
    }

    fn fill(
        &self,
        template: &Template,
        message: &mut NewMessage,
        own: &Own<'_>,
        rules: &Rules<'_>,
    ) -> Result<(), Mistake> {
        let wrong = |code, detail: String| Mistake::new("to", code, detail).inside("variables");
        let text = template.fill(own.value).map_err(|name| {
            let detail =
                format!("there is no `{name}`, and the text has no fallback for it: {{{{{name}|default(\"…\")}}}}");
            wrong("missing_variable", detail)
        })?;
        if text.is_empty() {
            return Err(wrong("too_short", "the text is empty once filled in".into()));
        }
        let read = match &self.short {
            None => Cow::Borrowed(text.as_str()),
            Some(short) => short.sample(&text).map_err(|m| wrong(m.code, m.detail.into_owned()))?.into(),
        };
        let plan = encoding::plan(&read, &self.options).map_err(|e| {
            wrong("too_long", format!("{e}: shorten the text, or raise the account setting `parts_max`"))
        })?;
        message.body = text.into();
        message.own_body = true;
        message.encoding = plan.encoding.number();
        let whole = message.extra.as_deref().and_then(|e| e.mms.as_deref()).is_some_and(|mms| !mms.links);
        message.parts = if whole { 1 } else { plan.parts };
        message.flags = message.flags.with(Flags::TRANSLITERATE, plan.replaced > 0);
        if let Some(short) = &self.short {
            short.put_into(message, rules, rules.account);
        }
        Ok(())
    }
}
