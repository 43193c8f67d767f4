//! What HTTP carriers tell us: at which address, which of them may, and what becomes of it.

use std::sync::Arc;

use carillon_domain::error_code::ReceiptState;
use carillon_domain::id::ConnectionId;
use carillon_domain::route::ConnectionNo;
use carillon_providers::{Callback, CallbackError, Credentials, Heard, Provider, Receipt};
use carillon_store::hot::{self, ReceiptKind, Scope};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Links;
use crate::config::Kind;
use crate::routing::Configured;

/// Where carriers call back.
pub struct Callbacks {
    /// `https://…` of this installation; empty if it is not known.
    pub public_url: String,
    /// Makes the secret of each address.
    pub key: [u8; 32],
}

impl Callbacks {
    /// The secret in a connection's address: made, not stored, and the same on every node.
    pub fn token(&self, id: ConnectionId) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        let mac = mac.chain_update(b"callback ").chain_update(id.0.as_bytes()).finalize().into_bytes();
        mac[..16].iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The address, without the host.
    pub fn path(&self, id: ConnectionId) -> String {
        format!("/v1/callbacks/{id}/{}", self.token(id))
    }

    /// The whole address, if this installation knows its own.
    pub fn url(&self, id: ConnectionId) -> Option<String> {
        (!self.public_url.is_empty()).then(|| format!("{}{}", self.public_url, self.path(id)))
    }
}

/// A connection whose carrier may call back.
pub struct Listening {
    no: ConnectionNo,
    provider: Provider,
    credentials: Credentials,
}

impl Listening {
    pub(super) fn of(configured: &Configured) -> Option<Listening> {
        let Kind::Http(provider) = configured.settings.kind else { return None };
        Some(Listening { no: configured.no, provider, credentials: configured.settings.provider.clone() })
    }

    /// What messages of this connection carry.
    pub fn no(&self) -> ConnectionNo {
        self.no
    }

    /// What it says, once it is believed.
    pub fn heard(&self, callback: &Callback<'_>) -> Result<Heard, CallbackError> {
        self.provider.heard(callback, &self.credentials)
    }
}

impl Links {
    /// The connection of this id, if its carrier may call back and `token` is the secret of its address. `Err` if the secret is wrong.
    pub fn listening(&self, id: ConnectionId, token: &str) -> Option<Result<Arc<Listening>, CallbackError>> {
        let listening = self.listening.read().get(&id).cloned()?;
        let ours = self.callbacks.token(id);
        let good: bool = ours.as_bytes().ct_eq(token.as_bytes()).into();
        Some(if good { Ok(listening) } else { Err(CallbackError::Forged) })
    }

    /// Where the carrier of this connection calls back: whole if this installation knows its address, else the path alone.
    pub fn callback_url(&self, id: ConnectionId) -> String {
        self.callbacks.url(id).unwrap_or_else(|| self.callbacks.path(id))
    }

    /// Settles receipts. Whether all of them are durable: else the carrier is to send them again.
    pub async fn receipts(&self, from: &Listening, receipts: Vec<Receipt>) -> bool {
        // Vonage's SMS API answers part by part; all others know whole messages.
        let scope = if from.provider == Provider::VonageSms { Scope::Part } else { Scope::Message };
        let at = self.clock.now_ms();
        let receipts = receipts.into_iter().map(|receipt| {
            let kind = match receipt.state {
                ReceiptState::Delivered => ReceiptKind::Delivered,
                ReceiptState::Failed(code) => ReceiptKind::Failed { error: code.number() },
                ReceiptState::Interim => ReceiptKind::Interim,
                ReceiptState::Unknown => ReceiptKind::Unknown,
            };
            hot::Receipt {
                connection: from.no,
                carrier_id: receipt.id,
                phone_tag: receipt.to.map(|phone| (self.tag)(phone)),
                sender: None,
                kind,
                scope,
                carrier_error: matches!(kind, ReceiptKind::Failed { .. } | ReceiptKind::Unknown)
                    .then_some(receipt.carrier),
                reroute: false,
                at,
            }
        });
        self.pipeline.receipts_durable(receipts.collect()).await
    }
}
