//! The secrets of endpoints: made, sealed, opened, rotated.

use std::sync::Arc;

use carillon_domain::event::Kinds;
use carillon_domain::id::{AccountNo, EndpointId};
use carillon_store::StoreError;
use carillon_store::webhook::{self, Endpoint, EndpointStatus};
use uuid::Uuid;

use super::sign::{PREVIOUS_MS, Secret};
use crate::app::App;

/// A new secret.
pub fn fresh() -> Secret {
    let mut random = [0; 32];
    rand::fill(&mut random);
    Secret::new(random)
}

fn context(account: AccountNo, endpoint: EndpointId) -> Vec<u8> {
    [b"webhook_endpoint secret ".as_slice(), &account.0.to_be_bytes(), endpoint.0.as_bytes()].concat()
}

/// Seals a secret for its row.
pub fn seal(app: &App, account: AccountNo, endpoint: EndpointId, secret: &Secret) -> Vec<u8> {
    app.vault.seal(secret.as_bytes(), &context(account, endpoint))
}

fn open(app: &App, endpoint: &Endpoint, sealed: &[u8]) -> Option<Secret> {
    let bytes = app.vault.open(sealed, &context(endpoint.account, endpoint.id));
    let secret = bytes.ok().as_deref().and_then(Secret::from_bytes);
    if secret.is_none() {
        tracing::error!(endpoint = %endpoint.id, "the secret of a webhook endpoint does not open: nothing is sent there");
    }
    secret
}

/// What signs for an endpoint at an instant: its secret, and for a day after a rotation the one before.
pub fn in_force(app: &App, endpoint: &Endpoint) -> Option<Vec<Secret>> {
    let mut secrets = vec![open(app, endpoint, &endpoint.secret)?];
    if let Some((sealed, until)) = &endpoint.previous
        && *until > app.clock.now_ms()
    {
        secrets.extend(open(app, endpoint, sealed));
    }
    Some(secrets)
}

/// Puts a new secret in the place of an endpoint's; the old one goes on signing beside it for a day.
pub async fn rotate(app: &App, account: AccountNo, id: EndpointId) -> Result<(Endpoint, Secret), StoreError> {
    let secret = fresh();
    let until = app.clock.now_ms() + PREVIOUS_MS;
    let endpoint = webhook::rotate(&app.db, account, id, &seal(app, account, id, &secret), until).await?;
    app.notify.reload(&app.db).await?;
    Ok((endpoint, secret))
}

/// What signs an account's callbacks; made if it is missing.
pub async fn of_callbacks(app: &App, account: AccountNo) -> Result<(Arc<Endpoint>, Secret), StoreError> {
    let id = EndpointId(Uuid::nil());
    for _ in 0..2 {
        if let Some(endpoint) = app.notify.endpoint(account, id) {
            let secret = open(app, &endpoint, &endpoint.secret);
            let secret = secret.ok_or_else(|| StoreError::Broken("the secret of callbacks does not open".into()))?;
            return Ok((endpoint, secret));
        }
        let now = app.clock.now_ms();
        let new = Endpoint {
            id,
            account,
            url: String::new(),
            description: String::new(),
            kinds: Kinds::ALL,
            status: EndpointStatus::Enabled,
            status_at: now,
            secret: seal(app, account, id, &fresh()),
            previous: None,
            accepted_at: None,
            created_at: now,
        };
        match webhook::create(&app.db, &new).await {
            // Somebody else was first.
            Ok(()) | Err(StoreError::Taken(_)) => app.notify.reload(&app.db).await?,
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Broken("the secret of callbacks was made and is not there".into()))
}
