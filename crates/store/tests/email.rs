//! One contract for mail that waits and for the tokens in it, run on both databases.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use carillon_domain::account::Settings;
use carillon_domain::id::{AccountNo, EmailId, SessionId, UserId};
use carillon_store::account::{self, NewAccount, NewOwner};
use carillon_store::email::{self, EmailKind, NewEmail};
use carillon_store::email_token::{self, NewToken, Purpose};
use carillon_store::session::{self, Session};
use carillon_store::testing::both;
use carillon_store::{Db, StoreError, user};

fn mail(n: u64, at: i64) -> NewEmail {
    let id = EmailId::new(at, n, AccountNo(0));
    let kind = EmailKind::ALL[n as usize % 4];
    NewEmail { id, kind, recipient: format!("p{n}@example.com"), data: vec![n as u8], expires_at: at + 1_000_000 }
}

fn token(n: u8, user: UserId, purpose: Purpose, expires_at: i64) -> NewToken {
    NewToken { hash: [n; 32], user, purpose, expires_at }
}

/// A person with an account and a token to prove their address.
async fn ada(db: &Db) -> (UserId, AccountNo) {
    let id = UserId::new(1, 5, AccountNo(0));
    let verification = Some((token(1, id, Purpose::Verification, 5_000), mail(0, 1_000)));
    let owner =
        NewOwner { id, email: "ada@example.com", name: "Ada", password_hash: "old", operator: false, verification };
    let (settings, credit) = (Settings::default(), None);
    let new = NewAccount {
        id: None,
        counter: 1,
        name: "A",
        currency: "USD",
        settings,
        owner: Some(owner),
        credit,
        now: 1_000,
    };
    (id, account::create(db, &new).await.unwrap().no)
}

#[tokio::test]
async fn mail_waits_until_it_is_sent_or_given_up() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        let mails: Vec<NewEmail> = (0..5).map(|n| mail(n, 1_000 + 100 * n as i64)).collect();
        for mail in mails.iter().rev() {
            email::put(&db, mail).await.unwrap();
        }
        let due = async |now, limit| {
            let (due, later) = email::due(&db, now, limit).await.unwrap();
            (due.iter().map(|m| (m.data[0], m.attempts)).collect::<Vec<_>>(), later)
        };
        assert_eq!(due(999, 9).await, (vec![], Some(1_000)));
        assert_eq!(due(1_250, 9).await, (vec![(0, 0), (1, 0), (2, 0)], Some(1_300)));
        assert_eq!(due(1_250, 2).await, (vec![(0, 0), (1, 0)], Some(1_200)), "the rest is due at once");
        let first = email::due(&db, 1_000, 9).await.unwrap().0.remove(0);
        assert_eq!(
            (first.kind, first.recipient.as_str(), first.expires_at),
            (Some(EmailKind::Verification), "p0@example.com", 1_001_000)
        );

        email::sent(&db, mails[0].id).await.unwrap();
        email::failed(&db, mails[1].id, Some(9_000), "busy").await.unwrap();
        email::failed(&db, mails[2].id, None, "no such user").await.unwrap();
        assert_eq!(due(2_000, 9).await, (vec![(3, 0), (4, 0)], Some(9_000)));
        assert_eq!(due(9_000, 9).await.0, [(3, 0), (4, 0), (1, 1)]);
        let unsent = email::unsent(&db, AccountNo(0), 9).await.unwrap();
        let rows: Vec<_> = unsent.iter().map(|m| (m.attempts, m.due_at, m.error.as_deref(), m.has_data)).collect();
        assert_eq!(
            rows,
            [
                (1, Some(9_000), Some("busy"), true),
                (1, None, Some("no such user"), false),
                (0, Some(1_300), None, true),
                (0, Some(1_400), None, true)
            ]
        );
        assert!(email::unsent(&db, AccountNo(1), 9).await.unwrap().is_empty());

        assert_eq!(email::account_from(&db, AccountNo(0)).await.unwrap(), Some(AccountNo(0)));
        assert_eq!(email::account_from(&db, AccountNo(1)).await.unwrap(), None);
        assert_eq!(email::forget(&db, AccountNo(0), 1_200, 9).await.unwrap(), 0, "not before its time");
        assert_eq!(email::forget(&db, AccountNo(0), 5_000, 9).await.unwrap(), 1, "what was given up");
        assert_eq!(email::forget(&db, AccountNo(0), 2_000_000, 2).await.unwrap(), 2);
        assert_eq!(email::forget(&db, AccountNo(0), 2_000_000, 2).await.unwrap(), 1, "what is of no use");
    }
}

#[tokio::test]
async fn tokens_are_good_once_for_one_thing_and_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        let (id, _) = ada(&db).await;
        assert_eq!(email::unsent(&db, AccountNo(0), 9).await.unwrap().len(), 1, "written with the account");
        let owner =
            async |n: u8, purpose, now| email_token::owner(&db, &[n; 32], purpose, now).await.unwrap().map(|u| u.id);
        assert_eq!(owner(1, Purpose::Verification, 4_999).await, Some(id));
        assert_eq!(owner(1, Purpose::Verification, 5_000).await, None, "late");
        assert_eq!(owner(1, Purpose::PasswordReset, 2_000).await, None, "for something else");
        assert_eq!(owner(2, Purpose::Verification, 2_000).await, None, "unknown");
        let verify = async |n: u8, now| email_token::verify(&db, &[n; 32], Some(&mail(9, now)), now).await;
        assert!(matches!(verify(1, 5_000).await, Err(StoreError::NotFound)));
        verify(1, 2_000).await.unwrap();
        assert!(matches!(verify(1, 2_001).await, Err(StoreError::NotFound)), "once");
        assert_eq!(user::by_id(&db, id).await.unwrap().verified_at, Some(2_000));
        assert_eq!(email::unsent(&db, AccountNo(0), 9).await.unwrap().len(), 2, "the welcome");

        let issue = async |n: u8, now| {
            let token = token(n, id, Purpose::PasswordReset, now + 100);
            email_token::issue(&db, &token, &mail(n.into(), now), 2, now).await.unwrap()
        };
        let issued = [issue(10, 3_000).await, issue(11, 3_001).await, issue(12, 3_002).await, issue(13, 3_100).await];
        assert_eq!(issued, [true, true, false, true]);
        assert_eq!(email_token::forget(&db, 3_100, 9).await.unwrap(), 1);
        assert_eq!(email_token::forget(&db, 9_000, 9).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_new_password_ends_what_the_old_one_began() {
    let folder = tempfile::tempdir().unwrap();
    for db in both(folder.path()).await {
        let (id, account) = ada(&db).await;
        let session = |n| Session {
            id: SessionId::new(1_000, n, account),
            user: id,
            account,
            refresh_hash: vec![n as u8; 32],
            address: String::new(),
            agent: String::new(),
            created_at: 1_000,
            used_at: 1_000,
            expires_at: 9_000,
            revoked_at: None,
        };
        for n in 0..3 {
            session::create(&db, &session(n)).await.unwrap();
        }
        session::revoke(&db, account, id, session(2).id, 1_500).await.unwrap();
        assert!(user::attempt(&db, id, 0, Some(8_000)).await.unwrap());
        for n in [10, 11] {
            let token = token(n, id, Purpose::PasswordReset, 5_000);
            assert!(email_token::issue(&db, &token, &mail(n.into(), 2_000), 9, 2_000).await.unwrap());
        }
        let reset = async |n: u8| email_token::reset_password(&db, &[n; 32], "new", 2_000).await;
        assert!(matches!(reset(1).await, Err(StoreError::NotFound)), "not for a password");
        let mut ended = reset(10).await.unwrap();
        ended.sort();
        assert_eq!(ended, [session(0).id, session(1).id]);
        let ada = user::by_id(&db, id).await.unwrap();
        assert_eq!(
            (ada.password_hash.as_str(), ada.failures, ada.locked_until, ada.verified_at),
            ("new", 0, None, Some(2_000))
        );
        assert!(session::list(&db, account, id, 2_000).await.unwrap().is_empty());
        for n in [10, 11] {
            assert!(matches!(reset(n).await, Err(StoreError::NotFound)), "neither this link nor the other");
        }
        assert_eq!(user::owners(&db, account).await.unwrap(), [("ada@example.com".to_owned(), "Ada".to_owned())]);
        assert!(user::owners(&db, AccountNo(99)).await.unwrap().is_empty());
    }
}
