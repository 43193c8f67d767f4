//! Keys of requests that do not pass the hot path: the same request with the same key is done once.

/// Within `write_db!`: records a request's key with what it concerns. If it was used before: with what, or `None` by another request.
macro_rules! keyed {
    ($tx:expr, $account:expr, $key:expr, $resource:expr, $kind:expr, $now:expr) => {
        if let Some(key) = &$key {
            let day = $crate::hot::day_of($now);
            let used: Option<(Vec<u8>, uuid::Uuid)> = sqlx::query_as(
                "SELECT fingerprint, resource FROM idempotency WHERE day IN ($1, $2) AND account_no = $3 AND key_hash = $4",
            )
            .bind(day)
            .bind(day - 1)
            .bind($account.as_i64())
            .bind(&key.key[..])
            .fetch_optional(&mut *$tx)
            .await?;
            if used.is_none() {
                sqlx::query(
                    "INSERT INTO idempotency (day, account_no, key_hash, fingerprint, resource, kind) VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(day)
                .bind($account.as_i64())
                .bind(&key.key[..])
                .bind(&key.fingerprint[..])
                .bind($resource)
                .bind($kind)
                .execute(&mut *$tx)
                .await?;
            }
            used.map(|(fingerprint, resource)| (fingerprint == key.fingerprint).then_some(resource))
        } else {
            None
        }
    };
}

pub(crate) use keyed;
