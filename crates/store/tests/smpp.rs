//! One contract for SMPP credentials and what waits for them, run on both databases.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::future::Future;

use carillon_domain::account::Settings;
use carillon_domain::id::{AccountNo, SmppCredentialId, compose};
use carillon_domain::smpp::CredentialSettings;
use carillon_store::account::{self, NewAccount};
use carillon_store::smpp_credential::{self, Change, SmppCredential};
use carillon_store::smpp_delivery::{self, Content};
use carillon_store::testing::TestPostgres;
use carillon_store::{Db, StoreError};
use uuid::Uuid;

/// Runs one test on a fresh database of each kind, with an account in it.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Db, AccountNo) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Db::open(&format!("sqlite:{}", folder.path().join("t.db").display())).await.unwrap();
    let postgres = Db::open(&TestPostgres::start().fresh_database().await).await.unwrap();
    for db in [sqlite, postgres] {
        db.migrate().await.unwrap();
        let new = NewAccount {
            id: None,
            counter: 1,
            name: "A",
            currency: "USD",
            settings: Settings::default(),
            owner: None,
            credit: None,
            now: 1_000,
        };
        let account = account::create(&db, &new).await.unwrap().no;
        test(db.clone(), account).await;
        db.close().await;
    }
}

fn credential(account: AccountNo, n: u64) -> SmppCredential {
    SmppCredential {
        id: SmppCredentialId::new(1_000, n, account),
        account,
        no: 0,
        name: format!("credential {n}"),
        system_id: format!("system{n}"),
        password_hash: "hash".into(),
        settings: CredentialSettings::default(),
        enabled: true,
        created_at: 1_000,
        bound_at: None,
    }
}

#[tokio::test]
async fn credentials() {
    on_both(async |db, account| {
        let first = smpp_credential::create(&db, &credential(account, 1)).await.unwrap();
        let second = smpp_credential::create(&db, &credential(account, 2)).await.unwrap();
        assert_eq!((first.no, second.no), (1, 2));
        let twice = SmppCredential { id: SmppCredentialId::new(1_000, 9, account), ..credential(account, 1) };
        assert!(matches!(smpp_credential::create(&db, &twice).await, Err(StoreError::Taken(_))));

        let settings = CredentialSettings { window: 3, ..CredentialSettings::default() };
        let change = Change { settings: Some(settings.clone()), enabled: Some(false), ..Change::default() };
        let changed = smpp_credential::change(&db, account, first.id, &change).await.unwrap();
        assert_eq!((changed.settings, changed.enabled, &*changed.password_hash), (settings, false, "hash"));
        smpp_credential::touch(&db, account, first.id, 5_000).await.unwrap();
        let found = smpp_credential::by_system_id(&db, "system1").await.unwrap().unwrap();
        assert_eq!((found.id, found.bound_at, &*found.name), (first.id, Some(5_000), "credential 1"));

        let stranger = AccountNo(account.0 + 1);
        assert!(matches!(smpp_credential::by_id(&db, stranger, first.id).await, Err(StoreError::NotFound)));
        assert!(matches!(smpp_credential::change(&db, stranger, first.id, &change).await, Err(StoreError::NotFound)));
        assert!(matches!(smpp_credential::delete(&db, stranger, first.id, 9).await, Err(StoreError::NotFound)));

        smpp_credential::delete(&db, account, second.id, 9_000).await.unwrap();
        assert!(smpp_credential::by_system_id(&db, "system2").await.unwrap().is_none());
        assert!(matches!(smpp_credential::delete(&db, account, second.id, 9_000).await, Err(StoreError::NotFound)));
        // A number is in the flags of old messages: it is not given again.
        assert_eq!(smpp_credential::create(&db, &credential(account, 3)).await.unwrap().no, 3);
        let listed = smpp_credential::list(&db, account, None, 10).await.unwrap();
        assert_eq!(listed.iter().map(|c| c.no).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(smpp_credential::list(&db, account, Some(listed[0].id), 10).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_waits() {
    on_both(async |db, account| {
        let no = smpp_credential::create(&db, &credential(account, 1)).await.unwrap().no;
        let seq = |ms| compose(ms, 1, account);
        for ms in [3_000, 1_000, 2_000] {
            smpp_delivery::put_inbound(&db, account, &[(no, seq(ms))], Uuid::from_u128(ms as u128)).await.unwrap();
            smpp_delivery::put_inbound(&db, account, &[(no, seq(ms))], Uuid::from_u128(ms as u128)).await.unwrap();
        }
        let waiting = async || -> Vec<Uuid> {
            smpp_delivery::oldest(&db, account, no, 10).await.unwrap().into_iter().map(|d| d.seq).collect()
        };
        assert_eq!(waiting().await, [seq(1_000), seq(2_000), seq(3_000)]);
        let first = smpp_delivery::oldest(&db, account, no, 1).await.unwrap();
        assert!(matches!(first[..], [smpp_delivery::Delivery { content: Content::Inbound(id), .. }] if id.as_u128() == 1_000));
        assert!(smpp_delivery::oldest(&db, AccountNo(account.0 + 1), no, 10).await.unwrap().is_empty());
        assert!(smpp_delivery::oldest(&db, account, no + 1, 10).await.unwrap().is_empty());

        let many: Vec<Uuid> = (0..500).map(|n| seq(10_000 + n)).chain([seq(2_000)]).collect();
        smpp_delivery::delete(&db, account, no, &many).await.unwrap();
        assert_eq!(waiting().await, [seq(1_000), seq(3_000)]);
        assert_eq!(smpp_delivery::delete_older(&db, 1_500, 10).await.unwrap(), 1);
        assert_eq!(smpp_delivery::delete_older(&db, 1_500, 10).await.unwrap(), 0);
        assert_eq!(waiting().await, [seq(3_000)]);
        let id = smpp_credential::list(&db, account, None, 1).await.unwrap()[0].id;
        smpp_credential::delete(&db, account, id, 9_000).await.unwrap();
        assert!(waiting().await.is_empty());
    })
    .await;
}
