//! Tables of rates and number ranges as CSV, and how fast accounts may go: taken whole or not at all.

use serde_json::{Value, json};

use super::connections::{carrier, connect};
use crate::app::{Answer, TestApp};

async fn put(t: &TestApp, path: &str, key: &str, csv: &str) -> Answer {
    let request = t.request("PUT", path).bearer_auth(key).header("content-type", "text/csv");
    t.send(request.body(csv.to_owned())).await
}

#[tokio::test]
async fn tables_of_rates() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let sim = carrier(None).await;
    let id = connect(&t, &operator, "a", &sim).await;
    let (one, table) = (format!("/v1/carrier-rates/{id}"), format!("/v1/carrier-rates/{id}/csv"));
    let set = async |prefix: &str, price: &str| {
        t.call("PUT", &one, &operator, Some(json!({"prefix": prefix, "price": price}))).await
    };
    assert_eq!(set("49", "0.0075").await.json(), json!({"prefix": "49", "price": "0.0075"}));
    assert_eq!(set("", "1").await.json(), json!({"prefix": "", "price": "1.00"}));
    for (prefix, price, pointer) in [
        ("+49", "1", "#/prefix"),
        ("049", "1", "#/prefix"),
        ("1234567890123456", "1", "#/prefix"),
        ("49", "-1", "#/price"),
        ("49", "0.0000001", "#/price"),
        ("49", "1001", "#/price"),
        ("49", "free", "#/price"),
    ] {
        assert_eq!(set(prefix, price).await.json()["errors"][0]["pointer"], pointer, "{prefix} {price}");
    }
    assert_eq!(t.get(&table, &operator).await.text, "prefix,price\r\n,1.00\r\n49,0.0075\r\n");

    let bad = put(&t, &table, &operator, "prefix,price\n1,0.01\n+44,0.02\n33,cheap\n1,0.03\n44\n").await;
    let lines: Vec<_> = bad.json()["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!((bad.status, lines), (400, ["line 3", "line 4", "line 5", "line 6"].map(Value::from).to_vec()));
    for (csv, refusal) in [
        ("", (400, "malformed_csv")),
        ("49,0.01\n", (400, "malformed_csv")),
        ("prefix;price\n49;0.01\n", (400, "malformed_csv")),
    ] {
        assert_eq!(put(&t, &table, &operator, csv).await.refusal(), (refusal.0, refusal.1.into()), "{csv:?}");
    }
    let json = t.call("PUT", &table, &operator, Some(json!([]))).await;
    assert_eq!(json.refusal(), (415, "unsupported_media_type".into()));
    assert_eq!(t.get(&table, &operator).await.text, "prefix,price\r\n,1.00\r\n49,0.0075\r\n", "nothing was changed");

    let many: String = (0..30_000).map(|i| format!("{},0.01\n", 100_000 + i)).collect();
    assert_eq!(put(&t, &table, &operator, &format!("prefix,price\n{many}")).await.json()["rows"], 30_000);
    let page = t.get(&format!("{one}?limit=2"), &operator).await.json();
    assert_eq!(page["data"], json!([{"prefix": "100000", "price": "0.01"}, {"prefix": "100001", "price": "0.01"}]));
    let next = format!("{one}?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(t.get(&next, &operator).await.json()["data"][0]["prefix"], "100002");
    let too_many: String = (0..100_001).map(|i| format!("{},1\n", 100_000 + i)).collect();
    let refused = put(&t, &table, &operator, &format!("prefix,price\n{too_many}")).await;
    assert_eq!(refused.refusal(), (413, "payload_too_large".into()));

    assert_eq!(t.call("DELETE", &format!("{one}?prefix=100000"), &operator, None).await.status, 204);
    assert_eq!(t.call("DELETE", &format!("{one}?prefix=100000"), &operator, None).await.status, 404);
    assert_eq!(put(&t, &table, &operator, "price,prefix\n0.5,\n").await.json()["rows"], 1);
    assert_eq!(t.get(&one, &operator).await.json()["data"], json!([{"prefix": "", "price": "0.50"}]));
}

#[tokio::test]
async fn number_ranges() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let (_, owner) = t.account("a").await;
    let path = "/v1/number-ranges";
    let good = "prefix,mcc_mnc\r\n00,1\r\n";
    assert_eq!(put(&t, path, &owner, good).await.refusal(), (403, "forbidden".into()));
    let bad =
        put(&t, path, &operator, "prefix,mcc_mnc\n49151,26201\n,26201\n49x,26201\n49152,262\n49151,26202\n").await;
    let lines: Vec<_> = bad.json()["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!(lines, ["line 3", "line 4", "line 5", "line 6"].map(Value::from));
    assert_eq!(t.get(path, &operator).await.text, "prefix,mcc_mnc\r\n");
    assert_eq!(
        put(&t, path, &operator, "prefix,mcc_mnc\n49151,26201\n1310,310004\n999,00101\n").await.json()["rows"],
        3
    );
    let kept = "prefix,mcc_mnc\r\n1310,310004\r\n49151,26201\r\n999,00101\r\n";
    assert_eq!(t.get(path, &operator).await.text, kept);
    let asked = t.post("/v1/routes/explain", &operator, json!({"to": "+4915112345678"})).await.json();
    assert_eq!(asked["operator"], "26201");
}

#[tokio::test]
async fn how_fast_accounts_may_go() {
    let t = TestApp::start().await;
    let (_, operator) = t.operator().await;
    let (shop, key) = t.account("a").await;
    let path = "/v1/admin/throughput";
    let of_shop = format!("{path}?account={}", shop.id);
    let set = async |sender: &str, rate: Value| {
        let body = json!({"account": shop.id, "sender": sender, "parts_per_second": rate});
        t.call("PUT", path, &operator, Some(body)).await
    };
    assert_eq!(set("", json!(50)).await.status, 200);
    assert_eq!(set("+49 151 12345678", json!(1)).await.json()["errors"][0]["pointer"], "#/sender");
    assert_eq!(set("Shop", json!(5)).await.json()["sender"], "Shop");
    for rate in [json!(0), json!(1_000_001), json!(-1), json!("5")] {
        assert_eq!(set("", rate.clone()).await.json()["errors"][0]["pointer"], "#/parts_per_second", "{rate}");
    }
    let nobody = json!({"account": "acc_01h455vb4pex5vsknk084sn02q", "parts_per_second": 1});
    assert_eq!(t.call("PUT", path, &operator, Some(nobody)).await.status, 404);
    let list = t.get(&of_shop, &operator).await.json();
    let rates: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|l| (l["sender"].clone(), l["parts_per_second"].clone())).collect();
    assert_eq!(rates, [(json!(""), json!(50)), (json!("Shop"), json!(5))]);
    assert_eq!(t.get(&of_shop, &key).await.refusal(), (403, "forbidden".into()));
    assert_eq!(t.call("DELETE", &format!("{of_shop}&sender=Shop"), &operator, None).await.status, 204);
    assert_eq!(t.call("DELETE", &format!("{of_shop}&sender=Shop"), &operator, None).await.status, 404);
    assert_eq!(t.get(&of_shop, &operator).await.json()["data"].as_array().unwrap().len(), 1);
}
