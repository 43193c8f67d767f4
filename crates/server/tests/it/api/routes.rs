//! Routes: every condition and strategy as messages really take them, what explain says of it, and what is refused.

use carillon::simulator::Simulator;
use serde_json::{Value, json};

use super::connections::{carrier, connect, taken_by, until};
use crate::app::TestApp;

const GERMAN: &str = "+4915112345678";
const FRENCH: &str = "+33612345678";

/// Two carriers of the platform's, `a` and `b`; without a route `a` is taken.
struct World {
    t: TestApp,
    operator: String,
    shop: String,
    shop_id: String,
    b: String,
    carriers: [Simulator; 2],
}

async fn world() -> World {
    let t = TestApp::with(|config| config.accounts.private_carriers = true).await;
    let (_, operator) = t.operator().await;
    let (account, shop) = t.account("shop").await;
    let carriers = [carrier(None).await, carrier(None).await];
    connect(&t, &operator, "a", &carriers[0]).await;
    let b = connect(&t, &operator, "b", &carriers[1]).await;
    World { t, operator, shop, shop_id: account.id.to_string(), b, carriers }
}

impl World {
    async fn route(&self, route: Value) -> String {
        let made = self.t.post("/v1/routes", &self.operator, route.clone()).await;
        assert_eq!(made.status, 201, "{route}: {}", made.text);
        made.json()["id"].as_str().unwrap().to_owned()
    }

    async fn unroute(&self, id: &str) {
        assert_eq!(self.t.call("DELETE", &format!("/v1/routes/{id}"), &self.operator, None).await.status, 204);
    }

    /// What explain says of a message of the shop's.
    async fn explained(&self, mut question: Value) -> Value {
        question["account"] = json!(self.shop_id);
        if let Some(members) = question.as_object_mut() {
            members.remove("text");
        }
        let answer = self.t.post("/v1/routes/explain", &self.operator, question.clone()).await;
        assert_eq!(answer.status, 200, "{question}: {}", answer.text);
        answer.json()
    }

    async fn import(&self, path: &str, csv: &str) {
        let request = self.t.request("PUT", path).bearer_auth(&self.operator).header("content-type", "text/csv");
        let answer = self.t.send(request.body(csv.to_owned())).await;
        assert_eq!(answer.status, 200, "{csv}: {}", answer.text);
    }
}

fn to(connection: &str) -> Value {
    json!([{"members": [{"connection": connection}]}])
}

/// Each route leads to `b` what fits; the rest takes `a`. Explain says the same before it is sent, and why.
#[tokio::test]
async fn every_condition_as_it_really_is() {
    let w = world().await;
    w.import("/v1/number-ranges", "prefix,mcc_mnc\n49151,26201\n336,20801\n").await;
    let message = |to: &str| json!({"to": to, "text": "x"});
    let and = |mut m: Value, name: &str, value: Value| {
        m[name] = value;
        m
    };
    let otp = || and(message(GERMAN), "otp", json!(true));
    // 2026-11-21 12:00 UTC is a Saturday.
    let hours = |days: Value, from: &str| json!({"hours": {"zone": "Europe/Berlin", "days": days, "from": from, "to": "14:00"}});
    let rows = [
        (json!({}), message(GERMAN), None),
        (json!({"prefixes": ["33", "4915"]}), message(GERMAN), None),
        (json!({"prefixes": ["33", "4916"]}), message(GERMAN), Some("prefix")),
        (json!({"countries": ["DE"]}), message(GERMAN), None),
        (json!({"countries": ["DE", "AT"]}), message(FRENCH), Some("country")),
        (json!({"operators": ["26201"]}), message(GERMAN), None),
        (json!({"operators": ["26201"]}), message(FRENCH), Some("operator")),
        (json!({"senders": ["Shop"]}), and(message(GERMAN), "from", json!("SHOP")), None),
        (json!({"senders": ["Shop"]}), and(message(GERMAN), "from", json!("Bank")), Some("sender")),
        (json!({"senders": ["Shop"]}), message(GERMAN), Some("sender")),
        (json!({"lanes": ["express"]}), and(message(GERMAN), "express", json!(true)), None),
        (json!({"lanes": ["express", "otp"]}), otp_of(otp()), None),
        (json!({"lanes": ["bulk"]}), message(GERMAN), Some("lane")),
        (json!({"tags": ["promo"]}), and(message(GERMAN), "tags", json!(["x", "promo"])), None),
        (json!({"tags": ["promo"]}), message(GERMAN), Some("tag")),
        (json!({"accounts": [w.shop_id]}), message(GERMAN), None),
        (hours(json!(["sat"]), "12:00"), message(GERMAN), None),
        (hours(json!(["sat"]), "13:30"), message(GERMAN), Some("hours")),
        (hours(json!(["fri", "sun"]), "00:00"), message(GERMAN), Some("hours")),
        (json!({"countries": ["DE"], "lanes": ["express"]}), message(GERMAN), Some("lane")),
    ];
    for (conditions, message, misfit) in rows {
        let id = w.route(json!({"name": "r", "conditions": conditions, "groups": to("b")})).await;
        let expected = if misfit.is_none() { "b" } else { "a" };
        let explained = w.explained(question(&message)).await;
        assert_eq!(explained["takes"], expected, "{conditions} {message}: {explained}");
        assert_eq!(explained["passed_over"][0]["reason"], json!(misfit), "{conditions}: {explained}");
        assert_eq!(explained["route"]["id"], json!(misfit.is_none().then_some(id.clone())), "{conditions}");
        assert_eq!(taken_by(&w.t, &w.shop, message.clone()).await, expected, "{conditions} {message}");
        w.unroute(&id).await;
    }
    let other = w.route(json!({"name": "r", "conditions": {"accounts": [w.shop_id]}, "groups": to("b")})).await;
    let (_, bank) = w.t.account("bank").await;
    assert_eq!(taken_by(&w.t, &bank, message(GERMAN)).await, "a", "{other} is not the bank's");
}

/// A one-time code without a text of its own.
fn otp_of(mut message: Value) -> Value {
    message.as_object_mut().unwrap().remove("text");
    message
}

fn question(message: &Value) -> Value {
    let mut question = message.clone();
    question.as_object_mut().unwrap().remove("text");
    question
}

#[tokio::test]
async fn every_strategy_as_it_really_is() {
    let w = world().await;
    let id_of_a = {
        let list = w.t.get("/v1/connections", &w.operator).await.json();
        let row = list["data"].as_array().unwrap().iter().find(|c| c["name"] == "a").unwrap();
        row["id"].as_str().unwrap().to_owned()
    };
    w.import(&format!("/v1/carrier-rates/{id_of_a}/csv"), "prefix,price\n49,0.02\n33,0.01\n").await;
    w.import(&format!("/v1/carrier-rates/{}/csv", w.b), "prefix,price\n4915,0.01\n,0.03\n").await;
    let group = |strategy: &str, a: u16, b: u16| json!({"strategy": strategy, "members": [{"connection": "a", "weight": a}, {"connection": "b", "weight": b}]});
    let order = |explained: &Value| {
        let names = explained["candidates"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let rows = [
        (json!([group("priority", 1, 1)]), GERMAN, ["a", "b"]),
        (json!([group("weighted", 0, 1)]), GERMAN, ["b", "a"]),
        (json!([group("weighted", 1, 0)]), GERMAN, ["a", "b"]),
        (json!([group("least_cost", 1, 1)]), GERMAN, ["b", "a"]),
        (json!([group("least_cost", 1, 1)]), FRENCH, ["a", "b"]),
        (json!([to("b")[0].clone(), group("priority", 1, 1)]), GERMAN, ["b", "a"]),
    ];
    for (groups, number, expected) in rows {
        let id = w.route(json!({"name": "r", "groups": groups})).await;
        let explained = w.explained(json!({"to": number})).await;
        assert_eq!(order(&explained), expected, "{groups}");
        assert_eq!(taken_by(&w.t, &w.shop, json!({"to": number, "text": "x"})).await, expected[0], "{groups}");
        w.unroute(&id).await;
    }
    let id = w.route(json!({"name": "r", "groups": [group("least_cost", 1, 1)]})).await;
    let explained = w.explained(json!({"to": GERMAN})).await;
    assert_eq!(
        (&explained["candidates"][0]["cost"], &explained["candidates"][0]["state"]),
        (&json!("0.01"), &json!("up"))
    );
    w.unroute(&id).await;

    // What has not been measured is believed to be good: either may be first, and both are tried.
    w.route(json!({"name": "r", "groups": [group("best_delivery", 1, 1)]})).await;
    assert_eq!(order(&w.explained(json!({"to": GERMAN})).await).len(), 2);
    // Two to one, by chance: of 60 questions both answers come.
    w.route(json!({"name": "w", "rank": 1, "groups": [group("weighted", 2, 1)]})).await;
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..60 {
        first.insert(order(&w.explained(json!({"to": GERMAN})).await)[0].clone());
    }
    assert_eq!(first.len(), 2);
}

#[tokio::test]
async fn failover_and_what_explain_says_of_it() {
    let w = world().await;
    let off = w.route(json!({"name": "both", "groups": [to("b")[0].clone(), to("a")[0].clone()]})).await;
    let World { t, operator, shop, b, carriers: [_a, gone], .. } = &w;
    assert_eq!(taken_by(t, shop, json!({"to": GERMAN, "text": "x"})).await, "b");
    gone.refuse_binds(Some(carillon_smpp::CommandStatus::RBINDFAIL));
    gone.drop_links();
    until(t, operator, b, "down").await;
    let explained = w.explained(json!({"to": GERMAN})).await;
    assert_eq!(explained["takes"], "a", "{explained}");
    assert_eq!(
        (&explained["candidates"][0]["name"], &explained["candidates"][0]["state"]),
        (&json!("b"), &json!("down"))
    );
    assert_eq!(taken_by(t, shop, json!({"to": GERMAN, "text": "x"})).await, "a");

    // Each that is not taken says why.
    let spare =
        t.post("/v1/connections", operator, json!({"name": "spare", "kind": "sandbox", "enabled": false})).await;
    assert_eq!(spare.status, 201, "{}", spare.text);
    let change = json!({"groups": [to("a")[0].clone()]});
    t.call("PATCH", &format!("/v1/routes/{off}"), operator, Some(change)).await;
    let explained = w.explained(json!({"to": GERMAN})).await;
    let reasons: Vec<_> =
        explained["rejected"].as_array().unwrap().iter().map(|r| (r["name"].clone(), r["reason"].clone())).collect();
    let reason = |name: &str, why: &str| (json!(name), json!(why));
    assert_eq!(reasons, [reason("sandbox", "idle_sandbox"), reason("b", "not_in_route"), reason("spare", "disabled")]);
    // A route to what is off does not count, and says so.
    t.call("PATCH", &format!("/v1/routes/{off}"), operator, Some(json!({"groups": to("spare")}))).await;
    let explained = w.explained(json!({"to": GERMAN})).await;
    assert_eq!((&explained["passed_over"][0]["reason"], &explained["route"]), (&json!("connections"), &Value::Null));
}

#[tokio::test]
async fn rank_decides_and_routes_are_changed() {
    let w = world().await;
    let first = w.route(json!({"name": "to a", "rank": 5, "groups": to("a")})).await;
    let second = w.route(json!({"name": "to b", "rank": 9, "reroute": true, "groups": to("b")})).await;
    let takes = async || w.explained(json!({"to": GERMAN})).await["takes"].clone();
    assert_eq!(takes().await, "a");
    let change = async |id: &str, body: Value| {
        let answer = w.t.call("PATCH", &format!("/v1/routes/{id}"), &w.operator, Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    change(&second, json!({"rank": 1})).await;
    assert_eq!(takes().await, "b");
    change(&second, json!({"enabled": false})).await;
    assert_eq!(takes().await, "a");
    let changed = change(&second, json!({"enabled": true, "name": "z", "conditions": {"countries": ["fr"]}})).await;
    assert_eq!((&changed["name"], &changed["reroute"]), (&json!("z"), &json!(true)));
    assert_eq!(changed["groups"][0]["members"][0], json!({"connection": w.b, "weight": 1}), "named by its id");
    assert_eq!(takes().await, "a");
    w.unroute(&first).await;
    let list = w.t.get("/v1/routes", &w.operator).await.json();
    assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["id"]), (1, &json!(second)));
    // Its connection goes; the rule can still be changed otherwise, and does not count.
    w.t.call("DELETE", &format!("/v1/connections/{}", w.b), &w.operator, None).await;
    change(&second, json!({"conditions": {}})).await;
    assert_eq!(w.explained(json!({"to": GERMAN})).await["passed_over"][0]["reason"], "connections");
}

#[tokio::test]
async fn an_account_routes_over_its_own_connections_only() {
    let w = world().await;
    let (_, bank) = w.t.account("bank").await;
    let own = carrier(None).await;
    let id = connect(&w.t, &w.shop, "mine", &own).await;
    for connection in ["a", "b", w.b.as_str(), "sandbox"] {
        let refused = w.t.post("/v1/routes", &w.shop, json!({"name": "r", "groups": to(connection)})).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], "#/groups/0/members/0/connection", "{connection}");
    }
    let refused = w.t.post("/v1/routes", &bank, json!({"name": "r", "groups": to(&id)})).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let accounts = json!({"name": "r", "conditions": {"accounts": [w.shop_id]}, "groups": to("mine")});
    assert_eq!(w.t.post("/v1/routes", &w.shop, accounts).await.json()["errors"][0]["pointer"], "#/conditions/accounts");

    let made = w.t.post("/v1/routes", &w.shop, json!({"name": "own", "groups": to("mine")})).await.json();
    let path = format!("/v1/routes/{}", made["id"].as_str().unwrap());
    for (method, body) in [("GET", None), ("PATCH", Some(json!({"rank": 1}))), ("DELETE", None)] {
        assert_eq!(w.t.call(method, &path, &bank, body).await.status, 404, "{method}");
    }
    assert_eq!(w.t.get("/v1/routes", &bank).await.json()["data"], json!([]));
    // The account sees its own reasons; what the platform's carriers cost and are called in routes is not its business.
    let rates = format!("/v1/carrier-rates/{}", w.b);
    w.t.call("PUT", &rates, &w.operator, Some(json!({"prefix": "", "price": "0.01"}))).await;
    w.route(json!({"name": "secret deal", "conditions": {"lanes": ["bulk"]}, "groups": to("b")})).await;
    let explained = w.t.post("/v1/routes/explain", &bank, json!({"to": GERMAN, "lane": "bulk"})).await;
    assert_eq!(explained.json()["takes"], "b", "{}", explained.text);
    assert!(!explained.text.contains("secret deal") && !explained.text.contains("0.01"), "{}", explained.text);
    let explained = w.t.post("/v1/routes/explain", &w.shop, json!({"to": GERMAN})).await.json();
    assert_eq!((&explained["takes"], &explained["route"]["owner"]), (&json!("mine"), &json!("account")));
    let foreign = w.t.post("/v1/routes/explain", &bank, json!({"to": GERMAN, "account": w.shop_id})).await;
    assert_eq!(foreign.refusal(), (403, "forbidden".into()));
}

#[tokio::test]
async fn what_is_refused() {
    let w = world().await;
    let with = |conditions: Value| json!({"name": "r", "conditions": conditions, "groups": to("a")});
    let groups = |groups: Value| json!({"name": "r", "groups": groups});
    let many: Vec<_> = (0..501).map(|i| (1_000 + i).to_string()).collect();
    let hours = |zone: &str, days: Value, from: &str| {
        with(json!({"hours": {"zone": zone, "days": days, "from": from, "to": "10:00"}}))
    };
    let rows = [
        (json!({"groups": to("a")}), "#/name"),
        (json!({"name": "", "groups": to("a")}), "#/name"),
        (json!({"name": "r"}), "#/groups"),
        (json!({"name": "r", "rank": 1_000_001, "groups": to("a")}), "#/rank"),
        (json!({"name": "r", "rank": "first", "groups": to("a")}), "#/rank"),
        (with(json!({"colour": []})), "#/conditions/colour"),
        (with(json!({"accounts": ["nobody"]})), "#/conditions/accounts/0"),
        (with(json!({"accounts": ["acc_01h455vb4pex5vsknk084sn02q"]})), "#/conditions/accounts/0"),
        (with(json!({"prefixes": ["49", "+49"]})), "#/conditions/prefixes/1"),
        (with(json!({"prefixes": [""]})), "#/conditions/prefixes/0"),
        (with(json!({"prefixes": ["049"]})), "#/conditions/prefixes/0"),
        (with(json!({"prefixes": ["1234567890123456"]})), "#/conditions/prefixes/0"),
        (with(json!({"prefixes": many})), "#/conditions/prefixes"),
        (with(json!({"countries": ["DE", "Germany"]})), "#/conditions/countries/1"),
        (with(json!({"operators": ["262-01"]})), "#/conditions/operators/0"),
        (with(json!({"operators": ["2620"]})), "#/conditions/operators/0"),
        (with(json!({"senders": [""]})), "#/conditions/senders/0"),
        (with(json!({"lanes": ["fast"]})), "#/conditions/lanes/0"),
        (with(json!({"tags": ["x".repeat(65)]})), "#/conditions/tags/0"),
        (hours("Mars/Olympus", json!(["mon"]), "09:00"), "#/conditions/hours/zone"),
        (hours("Europe/Berlin", json!(["monday"]), "09:00"), "#/conditions/hours"),
        (hours("Europe/Berlin", json!([]), "09:00"), "#/conditions/hours"),
        (hours("Europe/Berlin", json!(["mon"]), "9"), "#/conditions/hours"),
        (groups(json!([])), "#/groups"),
        (groups(json!([{"members": []}])), "#/groups/0/members"),
        (groups(json!([{"strategy": "random", "members": [{"connection": "a"}]}])), "#/groups/0/strategy"),
        (groups(json!([{"members": [{"connection": "nobody"}]}])), "#/groups/0/members/0/connection"),
        (groups(json!([{"members": [{"connection": "a"}, {"connection": "a"}]}])), "#/groups/0/members/1/connection"),
        (groups(json!([{"members": [{"connection": "a", "weight": 1_001}]}])), "#/groups/0/members/0/weight"),
        (
            groups(json!([{"strategy": "weighted", "members": [{"connection": "a", "weight": 0}]}])),
            "#/groups/0/members",
        ),
        (groups(json!(vec![to("a")[0].clone(); 9])), "#/groups"),
    ];
    for (body, pointer) in rows {
        let answer = w.t.post("/v1/routes", &w.operator, body.clone()).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{body}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}: {}", answer.text);
    }
    let both = with(json!({"lanes": ["fast"], "countries": ["Germany"]}));
    assert_eq!(w.t.post("/v1/routes", &w.operator, both).await.json()["errors"].as_array().unwrap().len(), 2);
    assert_eq!(w.t.get("/v1/routes", &w.operator).await.json()["data"], json!([]), "nothing was stored");

    let questions = [
        (json!({}), "#/to"),
        (json!({"to": "hello"}), "#/to"),
        (json!({"to": GERMAN, "from": ""}), "#/from"),
        (json!({"to": GERMAN, "lane": "fast"}), "#/lane"),
        (json!({"to": GERMAN, "lane": "bulk", "otp": true}), "#/lane"),
        (json!({"to": GERMAN, "at": "soon"}), "#/at"),
        (json!({"to": GERMAN, "text": "x"}), "#/text"),
    ];
    for (body, pointer) in questions {
        let answer = w.t.post("/v1/routes/explain", &w.operator, body.clone()).await;
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}: {}", answer.text);
    }
}
