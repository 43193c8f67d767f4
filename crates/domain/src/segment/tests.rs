//! Filters checked by eye: what they mean, what is refused of them and where, how deep and how much.

use serde_json::json;

use super::*;

/// 2026-11-21T12:00:00Z.
const NOW: i64 = 1_795_262_400_000;

fn declared() -> Declared {
    [
        ("city", AttributeKind::Text),
        ("points", AttributeKind::Number),
        ("member", AttributeKind::Boolean),
        ("born", AttributeKind::Date),
    ]
    .map(|(name, kind)| (name.to_owned(), kind))
    .into()
}

fn city(test: Test) -> Filter {
    Filter::Is(Condition::Value(Subject::Attribute("city".into(), AttributeKind::Text), test))
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

#[test]
fn what_filters_mean() {
    let text = |t: &str| Scalar::Text(t.into());
    let of = |subject, test| Filter::Is(Condition::Value(subject, test));
    let born =
        |order, day: &str| of(Subject::Attribute("born".into(), AttributeKind::Date), Test::Compare(order, text(day)));
    let made = |order, at| of(Subject::CreatedAt, Test::Compare(order, Scalar::Instant(at)));
    let noon = NOW - NOW % DAY_MS;
    let rows = [
        (json!({"tag": "vip"}), Filter::Is(Condition::Tag("vip".into()))),
        (json!({"attribute": "city", "op": "eq", "value": "Bonn"}), city(Test::In(vec![text("Bonn")]))),
        (json!({"attribute": "city", "op": "ne", "value": "Bonn"}), not(city(Test::In(vec![text("Bonn")])))),
        (json!({"attribute": "city", "op": "in", "value": ["a", "b"]}), city(Test::In(vec![text("a"), text("b")]))),
        (
            json!({"attribute": "city", "op": "contains", "value": "' OR 1=1 --"}),
            city(Test::Contains("' OR 1=1 --".into())),
        ),
        (json!({"attribute": "city", "op": "exists"}), city(Test::Exists)),
        (json!({"attribute": "city", "op": "exists", "value": false}), not(city(Test::Exists))),
        (
            json!({"field": "name", "op": "starts_with", "value": "ADA"}),
            of(Subject::Name, Test::StartsWith("ada".into())),
        ),
        (json!({"field": "status", "op": "eq", "value": "New"}), of(Subject::Status, Test::In(vec![text("New")]))),
        (json!({"field": "created_at", "op": "gte", "value": "2026-11-21"}), made(Order::Gte, noon)),
        (
            json!({"field": "created_at", "op": "last_days", "value": 1}),
            Filter::All(vec![made(Order::Gte, noon - DAY_MS), made(Order::Lt, noon + DAY_MS)]),
        ),
        (
            json!({"attribute": "born", "op": "next_days", "value": 10}),
            Filter::All(vec![born(Order::Gte, "2026-11-21"), born(Order::Lte, "2026-12-01")]),
        ),
        (json!({"suppressed": false}), not(Filter::Is(Condition::Suppressed))),
        (
            json!({"group": {"external_id": "course_123", "kind": "course"}}),
            Filter::Is(Condition::GroupNamed { external_id: "course_123".into(), kind: Some(GroupKind::Course) }),
        ),
        (
            json!({"activity": "delivered", "within_days": 30, "at_least": 2}),
            Filter::Is(Condition::Activity { what: Activity::Delivered, since_day: 20_748, at_least: 2 }),
        ),
        (
            json!({"activity": "clicked", "within_days": 1}),
            Filter::Is(Condition::Activity { what: Activity::Clicked, since_day: 20_777, at_least: 1 }),
        ),
        (
            json!({"consent": "opted_in"}),
            Filter::Is(Condition::Consent(Category::Promotional, consent::Status::OptedIn)),
        ),
        (
            json!({"not": {"consent": "opted_out", "category": "transactional"}}),
            not(Filter::Is(Condition::Consent(Category::Transactional, consent::Status::OptedOut))),
        ),
        (
            json!({"any": [{"tag": "a"}, {"not": {"all": [{"tag": "b"}]}}]}),
            Filter::Any(vec![
                Filter::Is(Condition::Tag("a".into())),
                not(Filter::All(vec![Filter::Is(Condition::Tag("b".into()))])),
            ]),
        ),
    ];
    for (filter, expected) in rows {
        assert_eq!(read(&filter, &declared(), NOW), Ok(expected), "{filter}");
    }
}

#[test]
fn what_is_refused_and_where() {
    let long = "x".repeat(201);
    let many: Vec<_> = (0..101).collect();
    let rows = [
        (json!(null), "", Refusal::Object),
        (json!([]), "", Refusal::Object),
        (json!({}), "", Refusal::Which),
        (json!({"tag": "a", "not": {"tag": "b"}}), "", Refusal::Which),
        (json!({"where": "1=1"}), "", Refusal::Which),
        (json!({"all": []}), "/all", Refusal::Empty),
        (json!({"all": {"tag": "a"}}), "/all", Refusal::Type("an array of filters")),
        (json!({"all": [{"tag": "a"}, 5]}), "/all/1", Refusal::Object),
        (json!({"not": [{"tag": "a"}]}), "/not", Refusal::Object),
        (json!({"tag": "a", "op": "eq"}), "/op", Refusal::Unknown),
        (json!({"tag": ""}), "/tag", Refusal::Empty),
        (json!({"tag": "a\nb"}), "/tag", Refusal::Control),
        (json!({"tag": 5}), "/tag", Refusal::Type("a text")),
        (json!({"tag": "x".repeat(41)}), "/tag", Refusal::Long(40)),
        (json!({"attribute": "shoe", "op": "eq", "value": 1}), "/attribute", Refusal::Undeclared),
        (json!({"attribute": "city') OR 1=1 --", "op": "exists"}), "/attribute", Refusal::Undeclared),
        (json!({"attribute": "city", "value": "x"}), "/op", Refusal::Missing),
        (json!({"attribute": "city", "op": "eq"}), "/value", Refusal::Missing),
        (json!({"attribute": "city", "op": "eq", "value": 5}), "/value", Refusal::Type("a text")),
        (json!({"attribute": "city", "op": "eq", "value": long}), "/value", Refusal::Long(200)),
        (json!({"attribute": "points", "op": "eq", "value": "5"}), "/value", Refusal::Type("a number")),
        (json!({"attribute": "points", "op": "in", "value": many}), "/value", Refusal::Long(100)),
        (json!({"attribute": "points", "op": "in", "value": [1, "x"]}), "/value/1", Refusal::Type("a number")),
        (json!({"attribute": "member", "op": "eq", "value": 1}), "/value", Refusal::Type("true or false")),
        (
            json!({"attribute": "born", "op": "lt", "value": "2026-02-30"}),
            "/value",
            Refusal::Type("a date as YYYY-MM-DD"),
        ),
        (json!({"attribute": "born", "op": "last_days", "value": 0}), "/value", Refusal::Type("days, 1 to 36,500")),
        (
            json!({"field": "phone", "op": "eq", "value": "1"}),
            "/field",
            Refusal::OneOf("name, status, external_id, created_at and changed_at"),
        ),
        (
            json!({"group": "ctc_01h455vb4pex5vsknk084sn02q"}),
            "/group",
            Refusal::Type("the id of a group, or {\"external_id\": your own id, \"kind\": \"course\"}"),
        ),
        (json!({"group": {"kind": "course"}}), "/group/external_id", Refusal::Missing),
        (json!({"group": {"external_id": "a", "kind": "team"}}), "/group/kind", Refusal::OneOf("list and course")),
        (json!({"suppressed": "yes"}), "/suppressed", Refusal::Type("true or false")),
        (
            json!({"activity": "read", "within_days": 3}),
            "/activity",
            Refusal::OneOf("delivered, failed, sent, replied and clicked"),
        ),
        (json!({"activity": "sent"}), "/within_days", Refusal::Missing),
        (json!({"consent": "yes"}), "/consent", Refusal::OneOf("opted_out, pending, opted_in and confirmed")),
        (
            json!({"consent": "opted_in", "category": "otp"}),
            "/category",
            Refusal::OneOf("promotional and transactional"),
        ),
        (json!({"activity": "sent", "within_days": 367}), "/within_days", Refusal::Type("days, 1 to 366")),
        (
            json!({"activity": "sent", "within_days": 3, "at_least": 0}),
            "/at_least",
            Refusal::Type("a whole number, 1 to 10,000"),
        ),
    ];
    for (filter, pointer, why) in rows {
        let found = read(&filter, &declared(), NOW);
        assert_eq!(found, Err(vec![Wrong { pointer: pointer.into(), why }]), "{filter}");
    }
    // An operator of another kind is told which there are.
    for (attribute, op) in
        [("city", "lt"), ("points", "contains"), ("member", "in"), ("born", "starts_with"), ("city", "and")]
    {
        let found = read(&json!({"attribute": attribute, "op": op, "value": 1}), &declared(), NOW).unwrap_err();
        assert!(matches!(found[..], [Wrong { why: Refusal::OneOf(_), .. }]), "{attribute} {op}: {found:?}");
    }
    // All of it at once.
    let several = json!({"any": [{"tag": ""}, {"attribute": "shoe", "op": "exists"}, {"tag": "fine"}]});
    let found = read(&several, &declared(), NOW).unwrap_err();
    assert_eq!(found.iter().map(|w| w.pointer.as_str()).collect::<Vec<_>>(), ["/any/0/tag", "/any/1/attribute"]);
}

#[test]
fn how_deep_and_how_much() {
    let nested = |depth: usize| (1..depth).fold(json!({"tag": "a"}), |inner, _| json!({ "not": inner }));
    assert!(read(&nested(DEPTH_MAX), &declared(), NOW).is_ok());
    let found = read(&nested(DEPTH_MAX + 1), &declared(), NOW).unwrap_err();
    assert_eq!(found.iter().map(|w| w.why).collect::<Vec<_>>(), [Refusal::Deep]);
    let wide = |n: usize| json!({"any": vec![json!({"tag": "a"}); n]});
    assert!(read(&wide(CONDITIONS_MAX - 1), &declared(), NOW).is_ok());
    let found = read(&wide(10_000), &declared(), NOW).unwrap_err();
    assert_eq!(found, [Wrong { pointer: "/any/99".into(), why: Refusal::Conditions }]);
}
