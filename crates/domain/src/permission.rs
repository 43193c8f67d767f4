//! Who may do what: roles of people, scopes of keys and tokens. Both are asked through one question: does it allow this scope?

use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// One thing a credential may be allowed to do (`resource:verb`).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Scope { $($(#[$doc])* $name,)* }
        impl Scope {
            /// Every scope there is.
            pub const ALL: &'static [Scope] = &[$(Scope::$name,)*];
            /// Its name in the API.
            pub fn as_str(self) -> &'static str { match self { $(Scope::$name => $text,)* } }
        }
        impl FromStr for Scope {
            type Err = UnknownScope;
            fn from_str(text: &str) -> Result<Scope, UnknownScope> {
                match text { $($text => Ok(Scope::$name),)* _ => Err(UnknownScope(text.chars().take(40).collect())) }
            }
        }
    };
}

scopes! {
    /// Send messages and batches, cancel them, ask for estimates.
    MessagesSend = "messages:send";
    /// Read messages and batches.
    MessagesRead = "messages:read";
    /// Read the balance, prices and the ledger.
    BillingRead = "billing:read";
    /// List, make and revoke API keys.
    KeysManage = "keys:manage";
    /// Read the account and its people.
    AccountRead = "account:read";
    /// Change the account's settings.
    AccountWrite = "account:write";
    /// Verify people's numbers: start, check, resend.
    VerificationsManage = "verifications:manage";
    /// Ask for senders and choose the default.
    SendersManage = "senders:manage";
    /// List and change the numbers that must not be written to.
    SuppressionsManage = "suppressions:manage";
    /// Manage webhook endpoints and their secrets, replay deliveries.
    WebhooksManage = "webhooks:manage";
    /// Read inbound messages and conversations.
    InboundRead = "inbound:read";
    /// Manage the account's own connections and routes.
    ConnectionsManage = "connections:manage";
    /// Upload and delete media.
    MediaManage = "media:manage";
    /// Manage SMPP credentials.
    SmppManage = "smpp:manage";
    /// Read contacts and groups.
    ContactsRead = "contacts:read";
    /// Change contacts, groups and the attributes they may have.
    ContactsManage = "contacts:manage";
    /// Read campaigns, templates and who is in audiences.
    CampaignsRead = "campaigns:read";
    /// Change, test, launch and end campaigns; with it comes spending.
    CampaignsManage = "campaigns:manage";
    /// Save reports and have them mailed.
    ReportsManage = "reports:manage";
    /// Operate the platform: every account, credit, prices.
    Operate = "platform:operate";
}

/// A text that names no scope.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a scope; the scopes are listed in the documentation")]
pub struct UnknownScope(pub String);

/// A set of scopes, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scopes(u32);

impl Scopes {
    /// None.
    pub const NONE: Scopes = Scopes(0);

    /// Everything an account can do within itself.
    pub fn account_all() -> Scopes {
        Scope::ALL.iter().filter(|s| **s != Scope::Operate).fold(Scopes::NONE, |set, s| set.with(*s))
    }

    /// With one more.
    pub fn with(self, scope: Scope) -> Scopes {
        Scopes(self.0 | 1 << scope as u32)
    }

    /// Whether it holds one.
    pub fn allows(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u32) != 0
    }

    /// Whether it holds all of another set: nobody may give what they have not.
    pub fn covers(self, other: Scopes) -> bool {
        other.0 & !self.0 == 0
    }

    /// Reads a space-separated list.
    pub fn parse(text: &str) -> Result<Scopes, UnknownScope> {
        text.split_whitespace().try_fold(Scopes::NONE, |set, word| Ok(set.with(word.parse()?)))
    }

    /// Its members in order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |s| self.allows(*s))
    }

    /// The space-separated list.
    pub fn to_text(self) -> String {
        self.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// A person's part in an account, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum Role {
    /// Reads.
    Viewer = 0,
    /// Sends and reads.
    Member = 1,
    /// Also manages keys and settings.
    Admin = 2,
    /// Also closes the account and names owners.
    Owner = 3,
}

impl Role {
    /// From its column; an unknown number is read as the least.
    pub fn from_i16(n: i16) -> Role {
        match n {
            3 => Role::Owner,
            2 => Role::Admin,
            1 => Role::Member,
            _ => Role::Viewer,
        }
    }

    /// What the role may do.
    pub fn scopes(self) -> Scopes {
        use Scope::*;
        let all = |scopes: &[Scope]| scopes.iter().fold(Scopes::NONE, |set, s| set.with(*s));
        let viewer = all(&[MessagesRead, InboundRead, BillingRead, AccountRead, ContactsRead, CampaignsRead]);
        match self {
            Role::Viewer => viewer,
            Role::Member => all(&[
                MessagesRead,
                InboundRead,
                BillingRead,
                AccountRead,
                MessagesSend,
                VerificationsManage,
                MediaManage,
                ContactsRead,
                ContactsManage,
                CampaignsRead,
                CampaignsManage,
                ReportsManage,
            ]),
            Role::Admin | Role::Owner => Scopes::account_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_role_may_do() {
        use Scope::*;
        let rows = [
            (Role::Viewer, [false, true, true, true, false, true, false, false, false]),
            (Role::Member, [true, true, true, true, false, true, false, false, false]),
            (Role::Admin, [true, true, true, true, true, true, true, true, false]),
            (Role::Owner, [true, true, true, true, true, true, true, true, false]),
        ];
        for (role, expected) in rows {
            let scopes = [
                MessagesSend,
                MessagesRead,
                InboundRead,
                BillingRead,
                KeysManage,
                AccountRead,
                AccountWrite,
                WebhooksManage,
                Operate,
            ];
            assert_eq!(scopes.map(|s| role.scopes().allows(s)), expected, "{role:?}");
        }
        assert_eq!(Scopes::parse("messages:send nonsense"), Err(UnknownScope("nonsense".into())));
        assert_eq!(Scopes::parse(&Scopes::account_all().to_text()), Ok(Scopes::account_all()));
        assert!(!Role::Member.scopes().covers(Scopes::account_all()));
    }
}
