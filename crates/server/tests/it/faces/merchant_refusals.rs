//! What the endpoints of the second seed refuse, each of them, and that a refusal changes nothing.

use carillon_domain::permission::{Scope, Scopes};
use serde_json::json;

use super::merchant::{NOODLES, merchant, shop};
use crate::app::TestApp;

/// body -> the field refused and its code
#[tokio::test]
async fn campaigns_that_are_refused() {
    let t = shop().await;
    let token = merchant(&t, NOODLES, "5.00").await;
    let good = json!({"name": "Lunch", "message": "Soup", "recipients": ["+4915112345671"]});
    let rows = [
        ("name", json!(null), "#/name", "missing_field"),
        ("name", json!(""), "#/name", "too_short"),
        ("message", json!(null), "#/message", "missing_field"),
        ("message", json!(""), "#/message", "too_short"),
        ("message", json!("{{name"), "#/message", "invalid_template"),
        ("recipients", json!(null), "#/recipients", "missing_field"),
        ("recipients", json!([]), "#/recipients", "too_short"),
        ("recipients", json!("phone\n"), "#/recipients", "too_short"),
        ("recipients", json!("name,number\nAda,+4915112345671"), "#/recipients", "malformed_csv"),
        ("recipients", json!(5), "#/recipients", "invalid_value"),
        ("recipients", json!([5]), "#/recipients", "invalid_value"),
        ("recipients", json!({"phone": "+4915112345671"}), "#/recipients", "invalid_value"),
        ("recipients", json!(["1".repeat(65)]), "#/recipients/0", "too_long"),
        ("recipients", json!(vec!["+4915112345671"; 10_001]), "#/recipients", "too_long"),
        ("name", json!(5), "#/name", "wrong_type"),
        ("name", json!("a".repeat(201)), "#/name", "too_long"),
        ("message", json!(["Soup"]), "#/message", "wrong_type"),
        ("scheduled_at", json!(1_795_262_400), "#/scheduled_at", "wrong_type"),
        ("scheduled_at", json!("2028-01-01T00:00:00Z"), "#/scheduled_at", "invalid_value"),
        ("scheduled_at", json!("2026-02-30T00:00:00Z"), "#/scheduled_at", "invalid_value"),
        ("scheduled_at", json!("Friday"), "#/scheduled_at", "invalid_value"),
        ("scheduled_at", json!("2026-11-21T11:59:59Z"), "#/scheduled_at", "invalid_value"),
        ("status", json!("Sent"), "#/status", "unknown_field"),
    ];
    for (member, value, pointer, code) in rows {
        let mut body = good.clone();
        body[member] = value;
        let answer = t.post("/campaigns", &token, body.clone()).await;
        let first = &answer.json()["errors"][0];
        assert_eq!(
            (answer.status, &first["pointer"], &first["code"]),
            (400, &json!(pointer), &json!(code)),
            "{body}: {}",
            answer.text
        );
    }
    assert_eq!(t.get("/campaigns", &token).await.json()["campaigns"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn texts_that_are_refused() {
    let t = shop().await;
    let token = merchant(&t, NOODLES, "5.00").await;
    let rows = [
        ("/sms/send", json!({"message": "a"}), 400, "#/phone"),
        ("/sms/send", json!({"phone": "+4915112345671"}), 400, "#/message"),
        ("/sms/send", json!({"phone": "+1-555-0123", "message": "a"}), 400, "#/phone"),
        (
            "/sms/send",
            json!({"phone": "+4915112345671", "recipients": ["+4915112345671"], "message": "a"}),
            400,
            "#/phone",
        ),
        ("/sms/send", json!({"recipients": ["+4915112345671", "x"], "message": "a"}), 400, "#/recipients/1"),
        (
            "/sms/send",
            json!({"recipients": "phone,name\n+4915112345671,Ada\n12,Bob", "message": "a"}),
            400,
            "#/recipients/1",
        ),
        ("/sms/send", json!({"recipients": [], "message": "a"}), 400, "#/recipients"),
        ("/sms/send", json!({"recipients": 7, "message": "a"}), 400, "#/recipients"),
        ("/sms/send", json!({"phone": 4_915_112_345_671u64, "message": "a"}), 400, "#/phone"),
        ("/sms/send", json!({"phone": "", "message": "a"}), 400, "#/phone"),
        ("/sms/send", json!({"phone": "+4915112345671", "message": ""}), 400, "#/message"),
        ("/sms/send", json!({"phone": "+4915112345671", "message": 7}), 400, "#/message"),
        ("/sms/send", json!({"phone": "+4915112345671", "message": "a", "from": "me"}), 400, "#/from"),
        (
            "/sms/send",
            json!({"phone": "+4915112345671", "message": "a", "scheduled_at": "2026-12-04T11:00:00Z"}),
            400,
            "#/scheduled_at",
        ),
        ("/sms/schedule", json!({"phone": "+4915112345671", "message": "a"}), 400, "#/scheduled_at"),
        (
            "/sms/schedule",
            json!({"phone": "+4915112345671", "message": "a", "scheduled_at": "soon"}),
            400,
            "#/scheduled_at",
        ),
        (
            "/sms/schedule",
            json!({"phone": "+4915112345671", "message": "a", "scheduled_at": "2026-11-21T11:00:00Z"}),
            400,
            "#/scheduled_at",
        ),
        (
            "/sms/schedule",
            json!({"phone": "+4915112345671", "message": "a", "scheduled_at": "2028-01-01T00:00:00Z"}),
            400,
            "#/scheduled_at",
        ),
        (
            "/sms/schedule",
            json!({"phone": "12", "message": "a", "scheduled_at": "2026-12-04T11:00:00Z"}),
            400,
            "#/phone",
        ),
    ];
    for (path, body, status, pointer) in rows {
        let answer = t.post(path, &token, body.clone()).await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (status, &json!(pointer)),
            "{path} {body}: {}",
            answer.text
        );
    }
    assert_eq!(t.get("/v1/batches", &token).await.json()["data"], json!([]), "nothing was sent");
    assert_eq!(t.get("/billing", &token).await.json()["balance"], "5.00");
}

/// amount, id of the payment -> the field refused and its code
#[tokio::test]
async fn payments_that_are_refused() {
    let t = shop().await;
    let token = merchant(&t, NOODLES, "5.00").await;
    let long = "p".repeat(65);
    let amounts =
        [json!("0.99"), json!("0.00"), json!("-5.00"), json!("10000.01"), json!("5.001"), json!("5."), json!(".5")];
    let more =
        ["", "five", "1e3", " 5.00", "+5.00", "5,00", "0x10", "NaN", "99999999999999999999"].map(|text| json!(text));
    let mut rows: Vec<_> =
        amounts.into_iter().chain(more).map(|a| (a, json!("p"), "#/amount", "invalid_amount")).collect();
    rows.extend([
        (json!(5), json!("p"), "#/amount", "wrong_type"),
        (json!(null), json!("p"), "#/amount", "wrong_type"),
        (json!("5.00"), json!(7), "#/payment_id", "wrong_type"),
        (json!("5.00"), json!(""), "#/payment_id", "invalid_value"),
        (json!("5.00"), json!("a b"), "#/payment_id", "invalid_value"),
        (json!("5.00"), json!("p\u{e4}y"), "#/payment_id", "invalid_value"),
        (json!("5.00"), json!(long), "#/payment_id", "invalid_value"),
    ]);
    for (amount, payment, pointer, code) in rows {
        let answer = t.post("/billing/recharge", &token, json!({"amount": amount, "payment_id": payment})).await;
        let first = &answer.json()["errors"][0];
        assert_eq!(
            (answer.status, &first["pointer"], &first["code"]),
            (400, &json!(pointer), &json!(code)),
            "{amount} {payment}: {}",
            answer.text
        );
    }
    let declined = t.post("/billing/recharge", &token, json!({"amount": "5.00", "payment_id": "pay_declined"})).await;
    assert_eq!(declined.refusal(), (402, "payment_declined".into()), "{}", declined.text);
    let billing = t.get("/billing", &token).await.json();
    assert_eq!((billing["transactions"].as_array().map(Vec::len), &billing["balance"]), (Some(1), &json!("5.00")));
}

/// What no endpoint takes: other bodies than objects, members and parameters it does not know, ids that are none.
#[tokio::test]
async fn what_none_takes() {
    let t = shop().await;
    let token = merchant(&t, NOODLES, "5.00").await;
    let campaign = "/campaigns/0193a7c0-0000-7000-8000-000000000001";
    let writing = [
        ("POST", "/merchants/register"),
        ("POST", "/merchants/login"),
        ("POST", "/campaigns"),
        ("PATCH", campaign),
        ("POST", "/sms/send"),
        ("POST", "/sms/schedule"),
        ("POST", "/billing/recharge"),
    ];
    for (method, path) in writing {
        let request = |media: &str, body: &'static str| {
            t.send(t.request(method, path).bearer_auth(&token).header("content-type", media).body(body))
        };
        for (media, body, status, code) in [
            ("application/json", "[]", 400, "invalid_request"),
            ("application/json", "{\"a", 400, "malformed_json"),
            ("application/json", "", 400, "malformed_json"),
            ("application/json", "{\"surprise\": 1}", 400, "invalid_request"),
            ("text/plain", "{}", 415, "unsupported_media_type"),
        ] {
            let answer = request(media, body).await;
            assert_eq!(answer.refusal(), (status, code.into()), "{method} {path} {body}: {}", answer.text);
            assert_eq!(answer.headers["content-type"], "application/json", "{method} {path} {body}");
            assert!(answer.json()["error"].is_string(), "{}", answer.text);
        }
    }
    let status = "/sms/status/0193a7c0-0000-7000-8000-000000000001";
    let rows = [
        ("GET", "/campaigns?limit=0", 400, "invalid_query"),
        ("GET", "/campaigns?limit=201", 400, "invalid_query"),
        ("GET", "/campaigns?status=Sent", 400, "invalid_query"),
        ("GET", "/campaigns?cursor=x", 400, "invalid_cursor"),
        ("GET", "/billing?limit=many", 400, "invalid_query"),
        ("GET", "/billing?cursor=x", 400, "invalid_cursor"),
        ("GET", "/campaigns/x", 400, "invalid_id"),
        ("PATCH", "/campaigns/x", 400, "invalid_id"),
        ("DELETE", "/campaigns/x", 400, "invalid_id"),
        ("GET", "/sms/status/x", 400, "invalid_id"),
        ("GET", campaign, 404, "not_found"),
        ("PATCH", campaign, 404, "not_found"),
        ("DELETE", campaign, 404, "not_found"),
        ("GET", status, 404, "not_found"),
        ("DELETE", "/billing", 405, "method_not_allowed"),
    ];
    for (method, path, status, code) in rows {
        let answer = t.call(method, path, &token, (method == "PATCH").then(|| json!({}))).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{method} {path}: {}", answer.text);
    }
    // A cursor of one list is none of another.
    for _ in 0..2 {
        t.post("/billing/recharge", &token, json!({"amount": "1.00", "payment_id": "p"})).await;
    }
    let cursor = t.get("/billing?limit=1", &token).await.json()["next_cursor"].as_str().unwrap().to_owned();
    let elsewhere = t.get(&format!("/campaigns?cursor={cursor}"), &token).await;
    assert_eq!(elsewhere.refusal(), (400, "invalid_cursor".into()), "{}", elsewhere.text);
}

/// An account that may not send writes no campaign either.
#[tokio::test]
async fn who_is_suspended_sends_nothing() {
    let t = shop().await;
    let (account, key) = t.account("a").await;
    let (_, operator) = t.operator().await;
    let suspended = t
        .call("PATCH", &format!("/v1/admin/accounts/{}", account.id), &operator, Some(json!({"status": "suspended"})))
        .await;
    assert_eq!(suspended.status, 200, "{}", suspended.text);
    let at = "2026-12-04T11:00:00Z";
    for (path, body) in [
        ("/campaigns", json!({"name": "a", "message": "a", "recipients": ["+4915112345671"]})),
        ("/campaigns", json!({"name": "a", "message": "a", "recipients": ["+4915112345671"], "scheduled_at": at})),
        ("/sms/send", json!({"phone": "+4915112345671", "message": "a"})),
        ("/sms/schedule", json!({"phone": "+4915112345671", "message": "a", "scheduled_at": at})),
    ] {
        assert_eq!(
            t.post(path, &key, body.clone()).await.refusal(),
            (403, "account_suspended".into()),
            "{path} {body}"
        );
    }
    assert_eq!(t.get("/campaigns", &key).await.json()["campaigns"], json!([]));
}

/// Every endpoint, with nothing, with too little, and with somebody else's id.
#[tokio::test]
async fn who_may() {
    let t = shop().await;
    let token = merchant(&t, NOODLES, "5.00").await;
    let body = json!({"name": "Friday", "message": "Fish", "scheduled_at": "2026-12-04T11:00:00Z", "recipients": ["+4915112345671"]});
    let campaign = t.post("/campaigns", &token, body.clone()).await.json()["id"].as_str().unwrap().to_owned();
    let batch = t.post("/sms/send", &token, json!({"phone": "+4915112345671", "message": "a"})).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (_, thief) = t.account("thief").await;
    let (_, powerless) = t.account_with("powerless", Scopes::NONE.with(Scope::VerificationsManage)).await;
    let of_campaign = format!("/campaigns/{campaign}");
    let rows = [
        ("GET", "/merchants/profile".to_owned(), false),
        ("POST", "/campaigns".to_owned(), false),
        ("GET", "/campaigns".to_owned(), false),
        ("GET", of_campaign.clone(), true),
        ("PATCH", of_campaign.clone(), true),
        ("DELETE", of_campaign.clone(), true),
        ("POST", "/sms/send".to_owned(), false),
        ("POST", "/sms/schedule".to_owned(), false),
        ("GET", format!("/sms/status/{campaign}"), true),
        ("GET", format!("/sms/status/{batch}"), true),
        ("GET", "/billing".to_owned(), false),
        ("POST", "/billing/recharge".to_owned(), false),
    ];
    for (method, path, foreign) in rows {
        assert_eq!(
            t.call(method, &path, "", Some(json!({}))).await.refusal(),
            (401, "unauthenticated".into()),
            "{method} {path}"
        );
        assert_eq!(
            t.call(method, &path, &powerless, Some(json!({}))).await.refusal(),
            (403, "forbidden".into()),
            "{method} {path}"
        );
        if foreign {
            assert_eq!(
                t.call(method, &path, &thief, Some(json!({}))).await.refusal(),
                (404, "not_found".into()),
                "{method} {path}"
            );
        }
    }
    assert_eq!(t.get(&of_campaign, &token).await.json()["status"], "Scheduled", "and nothing was done");
}

#[tokio::test]
async fn without_a_gateway_and_switched_off() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let refused = t.post("/billing/recharge", &key, json!({"amount": "5.00", "payment_id": "p"})).await;
    assert_eq!(refused.refusal(), (403, "forbidden".into()), "nobody credits himself by default");
    let off = TestApp::with(|config| config.faces.merchant = false).await;
    let (_, key) = off.account("a").await;
    for (method, path) in [
        ("POST", "/merchants/register"),
        ("POST", "/merchants/login"),
        ("GET", "/merchants/profile"),
        ("GET", "/campaigns/x"),
        ("POST", "/sms/send"),
        ("GET", "/sms/status/x"),
        ("POST", "/billing/recharge"),
    ] {
        let answer = off.call(method, path, &key, Some(json!({}))).await;
        assert_eq!(
            (answer.refusal(), answer.headers["content-type"].as_str()),
            ((404, "not_found".into()), "application/problem+json"),
            "{path}"
        );
    }
    // What one word follows may be a short link: none is called so.
    for path in ["/campaigns", "/billing"] {
        assert_eq!(off.get(path, &key).await.status, 404, "{path}");
    }
}
