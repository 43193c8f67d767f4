//! Bad requests: each refused with its status, its stable code and the field's pointer; and nothing stored, held or charged by any.

use carillon_domain::permission::Scopes;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::app::{Answer, NOON, TestApp};

const TO: &str = "+4915112345678";

/// Fields refused of a message whose other fields are fine: the member, its pointer, the field's code.
const FIELDS: &[(&str, &str, &str)] = &[
    // Types.
    (r#""to":null"#, "#/to", "missing_field"),
    (r#""to":4915112345678"#, "#/to", "wrong_type"),
    (r#""to":true"#, "#/to", "wrong_type"),
    (r#""to":{}"#, "#/to", "wrong_type"),
    (r#""to":[1]"#, "#/to/0", "wrong_type"),
    (r#""to":["+4915112345678"]"#, "#/to", "wrong_type"),
    (r#""text":5"#, "#/text", "wrong_type"),
    (r#""text":["a"]"#, "#/text", "wrong_type"),
    (r#""text":null"#, "#/text", "missing_field"),
    (r#""from":7"#, "#/from", "wrong_type"),
    (r#""otp":"true""#, "#/otp", "wrong_type"),
    (r#""otp":1"#, "#/otp", "wrong_type"),
    (r#""express":"yes""#, "#/express", "wrong_type"),
    (r#""flash":0"#, "#/flash", "wrong_type"),
    (r#""transliterate":"no""#, "#/transliterate", "wrong_type"),
    (r#""validity_s":"60""#, "#/validity_s", "wrong_type"),
    (r#""validity_s":60.5"#, "#/validity_s", "wrong_type"),
    (r#""validity_s":99999999999999999999"#, "#/validity_s", "wrong_type"),
    (r#""scheduled_at":1795262400"#, "#/scheduled_at", "wrong_type"),
    (r#""client_ref":5"#, "#/client_ref", "wrong_type"),
    (r#""tags":"a""#, "#/tags", "wrong_type"),
    (r#""tags":{"a":1}"#, "#/tags", "wrong_type"),
    (r#""tags":[1]"#, "#/tags/0", "wrong_type"),
    (r#""tags":["a",null]"#, "#/tags/1", "wrong_type"),
    (r#""callback_url":false"#, "#/callback_url", "wrong_type"),
    (r#""category":1"#, "#/category", "wrong_type"),
    (r#""language":[]"#, "#/language", "wrong_type"),
    (r#""data":1"#, "#/data", "wrong_type"),
    (r#""client_id":1"#, "#/client_id", "wrong_type"),
    // Unknown, repeated and misplaced fields.
    (r#""txt":"a""#, "#/txt", "unknown_field"),
    (r#""To":"+4915112345678""#, "#/To", "unknown_field"),
    (r#""a/b~c":1"#, "#/a~1b~0c", "unknown_field"),
    (r#""":1"#, "#/", "unknown_field"),
    (r#""partial":true"#, "#/partial", "unknown_field"),
    (r#""express":true,"express":false"#, "#/express", "duplicate_field"),
    (r#""from":"a","from":"a""#, "#/from", "duplicate_field"),
    // Numbers of every kind of wrong.
    (r#""to":"""#, "#/to", "phone_empty"),
    (r#""to":"   ""#, "#/to", "phone_empty"),
    (r#""to":"hello""#, "#/to", "phone_not_a_number"),
    (r#""to":"+""#, "#/to", "phone_not_a_number"),
    (r#""to":"+49 151 1234567x""#, "#/to", "phone_not_a_number"),
    (r#""to":"+49#15112345678""#, "#/to", "phone_not_a_number"),
    (r#""to":"++4915112345678""#, "#/to", "phone_not_a_number"),
    (r#""to":"015112345678""#, "#/to", "phone_missing_country"),
    (r#""to":"004915112345678""#, "#/to", "phone_missing_country"),
    (r#""to":"4915112345678""#, "#/to", "phone_missing_country"),
    (r#""to":"112""#, "#/to", "phone_short_code"),
    (r#""to":"22333""#, "#/to", "phone_short_code"),
    (r#""to":"+9995550123456""#, "#/to", "phone_unknown_country_code"),
    (r#""to":"+2100000000""#, "#/to", "phone_unknown_country_code"),
    (r#""to":"+491511""#, "#/to", "phone_too_short"),
    (r#""to":"+1415555""#, "#/to", "phone_too_short"),
    (r#""to":"+141555526711""#, "#/to", "phone_too_long"),
    (r#""to":"+4915112345678901234567890""#, "#/to", "phone_too_long"),
    (r#""to":"+49015112345678""#, "#/to", "phone_trunk_prefix"),
    (r#""to":"+4407400123456""#, "#/to", "phone_trunk_prefix"),
    (r#""to":"+12005550123""#, "#/to", "phone_invalid_for_country"),
    (r#""to":"+11111111111""#, "#/to", "phone_invalid_for_country"),
    (r#""to":"+4915112345678;drop""#, "#/to", "phone_not_a_number"),
    // Senders.
    (r#""from":"""#, "#/from", "sender_empty"),
    (r#""from":"TwelveLetter""#, "#/from", "sender_too_long"),
    (r#""from":"Grüße""#, "#/from", "sender_character"),
    (r#""from":"a\u0000b""#, "#/from", "sender_character"),
    (r#""from":"<b>""#, "#/from", "sender_character"),
    (r#""from":" Shop""#, "#/from", "sender_outer_space"),
    (r#""from":"Shop ""#, "#/from", "sender_outer_space"),
    (r#""from":"1-2-3""#, "#/from", "sender_no_letter"),
    (r#""from":"+""#, "#/from", "sender_no_letter"),
    (r#""from":"12""#, "#/from", "sender_short_code_length"),
    (r#""from":"123456789""#, "#/from", "sender_short_code_length"),
    (r#""from":"+123""#, "#/from", "sender_long_code"),
    (r#""from":"+1234567890123456""#, "#/from", "sender_long_code"),
    // Texts and octets.
    (r#""text":"""#, "#/text", "too_short"),
    (r#""data":"AAAA""#, "#/data", "conflicting_fields"),
    (r#""text":null,"data":"""#, "#/data", "too_short"),
    (r#""text":null,"data":"abc""#, "#/data", "invalid_value"),
    (r#""text":null,"data":"a_-=""#, "#/data", "invalid_value"),
    (r#""text":null,"data":"not base64""#, "#/data", "invalid_value"),
    (r#""text":null,"data":"AAAA","language":"turkish""#, "#/language", "conflicting_fields"),
    // One-time codes.
    (r#""otp_code":"1234""#, "#/otp_code", "conflicting_fields"),
    (r#""otp":true"#, "#/text", "otp_code_missing"),
    (r#""otp":true,"otp_code":"1234""#, "#/text", "otp_code_missing"),
    (r#""otp":true,"text":"{CODE}""#, "#/text", "otp_code_missing"),
    (r#""otp":true,"text":null,"otp_code":"12""#, "#/otp_code", "invalid_value"),
    (r#""otp":true,"text":null,"otp_code":"""#, "#/otp_code", "invalid_value"),
    (r#""otp":true,"text":null,"otp_code":"12 34""#, "#/otp_code", "invalid_value"),
    (r#""otp":true,"text":null,"otp_code":"١٢٣٤""#, "#/otp_code", "invalid_value"),
    (r#""otp":true,"text":null,"otp_code":"123456789012345678901234567890123""#, "#/otp_code", "invalid_value"),
    (r#""otp":true,"text":null,"otp_code":123456"#, "#/otp_code", "wrong_type"),
    (r#""otp":true,"text":null,"validity_s":60"#, "#/validity_s", "conflicting_fields"),
    (r#""otp":true,"text":null,"scheduled_at":"2026-12-01T00:00:00Z""#, "#/scheduled_at", "conflicting_fields"),
    (r#""otp":true,"text":null,"category":"promotional""#, "#/category", "conflicting_fields"),
    (r#""otp":true,"text":null,"data":"AAAA""#, "#/data", "conflicting_fields"),
    // Choices.
    (r#""category":"""#, "#/category", "invalid_value"),
    (r#""category":"otp""#, "#/category", "invalid_value"),
    (r#""category":"Transactional""#, "#/category", "invalid_value"),
    (r#""language":"klingon""#, "#/language", "invalid_value"),
    (r#""language":"""#, "#/language", "invalid_value"),
    // Times.
    (r#""validity_s":0"#, "#/validity_s", "invalid_value"),
    (r#""validity_s":59"#, "#/validity_s", "invalid_value"),
    (r#""validity_s":-60"#, "#/validity_s", "invalid_value"),
    (r#""validity_s":604801"#, "#/validity_s", "invalid_value"),
    (r#""validity_s":9223372036854775807"#, "#/validity_s", "invalid_value"),
    (r#""scheduled_at":"""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"soon""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2026-12-01""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2026-12-01T10:00:00""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2026-13-01T10:00:00Z""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2026-02-30T10:00:00Z""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2026-11-21T11:00:00Z""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"1970-01-01T00:00:00Z""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2028-01-01T00:00:00Z""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"9999-12-31T23:59:59Z""#, "#/scheduled_at", "invalid_value"),
    (r#""time_zone":"Europe/Berlin""#, "#/time_zone", "conflicting_fields"),
    (r#""local_time":true"#, "#/local_time", "conflicting_fields"),
    (r#""scheduled_at":"2026-12-01T10:00:00","time_zone":"Mars/Olympus""#, "#/time_zone", "invalid_value"),
    (r#""scheduled_at":"2026-12-01T10:00:00","time_zone":"../../etc/passwd""#, "#/time_zone", "invalid_value"),
    (r#""scheduled_at":"2026-12-01T10:00:00Z","time_zone":"Europe/Berlin""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2026-12-01T10:00:00+01:00","time_zone":"Europe/Berlin""#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2026-12-01","local_time":true"#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2026-11-20T10:00:00","local_time":true"#, "#/scheduled_at", "invalid_value"),
    (r#""scheduled_at":"2028-01-01T10:00:00","local_time":true"#, "#/scheduled_at", "invalid_value"),
    (
        r#""scheduled_at":"2026-12-01T10:00:00","local_time":true,"time_zone":"UTC""#,
        "#/time_zone",
        "conflicting_fields",
    ),
    (r#""local_time":"yes""#, "#/local_time", "wrong_type"),
    (r#""send_window":"daily""#, "#/send_window", "wrong_type"),
    (r#""send_window":{"from":"9:00","to":"18:00"}"#, "#/send_window/from", "invalid_value"),
    (r#""send_window":{"from":"09:00"}"#, "#/send_window/to", "missing_field"),
    (r#""send_window":{"from":"18:00","to":"09:00"}"#, "#/send_window", "invalid_value"),
    (r#""send_window":{"from":"09:00","to":"18:00","days":[]}"#, "#/send_window", "invalid_value"),
    (r#""send_window":{"from":"09:00","to":"18:00","days":["someday"]}"#, "#/send_window/days/0", "invalid_value"),
    (r#""quiet_hours":"ignore""#, "#/quiet_hours", "invalid_value"),
    (r#""shorten_links":1"#, "#/shorten_links", "wrong_type"),
    (r#""shorten_links":true"#, "#/shorten_links", "links_unavailable"),
    (r#""text":null,"data":"AAAA","shorten_links":true"#, "#/shorten_links", "conflicting_fields"),
    (r#""otp":true,"text":null,"shorten_links":true"#, "#/shorten_links", "conflicting_fields"),
    (r#""quiet_hours":"loud""#, "#/quiet_hours", "invalid_value"),
    (r#""otp":true,"text":null,"send_window":{"from":"09:00","to":"18:00"}"#, "#/send_window", "conflicting_fields"),
    // What callers add.
    (r#""client_ref":"""#, "#/client_ref", "too_short"),
    (r#""client_ref":"a\u0000b""#, "#/client_ref", "invalid_value"),
    (r#""client_ref":"a\nb""#, "#/client_ref", "invalid_value"),
    (r#""tags":["a","b","c","d","e","f","g","h","i","j","k"]"#, "#/tags", "too_long"),
    (r#""tags":["""]"#, "#", "malformed"),
    (r#""tags":["a",""]"#, "#/tags/1", "too_short"),
    (r#""tags":["a\u0007"]"#, "#/tags/0", "invalid_value"),
    (r#""tags":["aaaaaaaaaabbbbbbbbbbccccccccccddddddddddX"]"#, "#/tags/0", "too_long"),
    (r#""callback_url":"""#, "#/callback_url", "invalid_value"),
    (r#""callback_url":"example.com/x""#, "#/callback_url", "invalid_value"),
    (r#""callback_url":"ftp://example.com""#, "#/callback_url", "invalid_value"),
    (r#""callback_url":"javascript:alert(1)""#, "#/callback_url", "invalid_value"),
    (r#""callback_url":"https://""#, "#/callback_url", "invalid_value"),
    (r#""callback_url":"https://a b.example""#, "#/callback_url", "invalid_value"),
    (r#""callback_url":"https://user:pass@example.com/""#, "#/callback_url", "invalid_value"),
];

/// Bodies that are no JSON object at all, or none in UTF-8: 400 `malformed_json` (or the body as a whole has the wrong type).
const MALFORMED: &[(&[u8], &str)] = &[
    (b"", "malformed_json"),
    (b" ", "malformed_json"),
    (b"{", "malformed_json"),
    (b"{\"to\"", "malformed_json"),
    (b"{\"to\":\"+49151", "malformed_json"),
    (b"{\"to\":\"a\",}", "malformed_json"),
    (b"{'to':'a'}", "malformed_json"),
    (b"{\"to\":\"a\"}{}", "malformed_json"),
    (b"{\"to\":\"a\"} x", "malformed_json"),
    (b"{\"text\":\"\xff\xfe\"}", "malformed_json"),
    (b"{\"text\":\"\xc3\"}", "malformed_json"),
    (b"{\"text\":\"\xed\xa0\x80\"}", "malformed_json"),
    (b"\xef\xbb\xbf{\"to\":\"a\"}", "malformed_json"),
    (b"{\"text\":\"\\ud800\"}", "malformed_json"),
    (b"{\"text\":\"\\ud800\\u0041\"}", "malformed_json"),
    (b"{\"text\":\"a\nb\"}", "malformed_json"),
    (b"{\"text\":\"\\x41\"}", "malformed_json"),
    (b"{\"validity_s\":1e999}", "malformed_json"),
    (b"{\"validity_s\":NaN}", "malformed_json"),
    (b"to=%2B4915112345678&text=hi", "malformed_json"),
    (b"[]", "invalid_request"),
    (b"null", "invalid_request"),
    (b"\"hello\"", "invalid_request"),
    (b"42", "invalid_request"),
];

/// Bodies of batches, with the pointer and code of the first refused field.
const BATCHES: &[(&str, &str, &str)] = &[
    (r#"{"text":"hi"}"#, "#/to", "missing_field"),
    (r#"{"to":[],"text":"hi"}"#, "#/to", "too_short"),
    (r#"{"to":"+4915112345678","text":"hi"}"#, "#/to", "wrong_type"),
    (r#"{"to":["+4915112345678",5],"text":"hi"}"#, "#/to/1", "wrong_type"),
    (r#"{"to":["+4915112345678",null],"text":"hi"}"#, "#/to/1", "wrong_type"),
    (r#"{"to":["+4915112345678","nobody"],"text":"hi"}"#, "#/to/1", "phone_not_a_number"),
    (r#"{"to":["+4915112345678",""],"text":"hi"}"#, "#/to/1", "phone_empty"),
    (r#"{"to":["+4915112345678"]}"#, "#/text", "missing_field"),
    (r#"{"to":["+4915112345678"],"text":"hi","otp":true}"#, "#/otp", "unknown_field"),
    (r#"{"to":["+4915112345678"],"text":"hi","otp_code":"1234"}"#, "#/otp_code", "conflicting_fields"),
    (r#"{"to":["+4915112345678"],"text":"hi","partial":1}"#, "#/partial", "wrong_type"),
    (r#"{"to":["nobody"],"text":"hi","partial":true}"#, "#/to/0", "phone_not_a_number"),
    (r#"{"to":["+4915112345678"],"text":"hi","recipients":[]}"#, "#/recipients", "unknown_field"),
    (r#"{"to":["+4915112345678"],"text":"hi","scheduled_at":"never"}"#, "#/scheduled_at", "invalid_value"),
];

/// Paths that are refused as they are, with a good key: method, path, status, code, pointer.
const PATHS: &[(&str, &str, u16, &str, &str)] = &[
    ("GET", "/v1/messages?status=lost", 400, "invalid_query", "?status"),
    ("GET", "/v1/messages?status=", 400, "invalid_query", "?status"),
    ("GET", "/v1/messages?lane=fast", 400, "invalid_query", "?lane"),
    ("GET", "/v1/messages?to=nobody", 400, "invalid_query", "?to"),
    ("GET", "/v1/messages?batch=msg_01h455vb4pex5vsknk084sn02q", 400, "invalid_query", "?batch"),
    ("GET", "/v1/messages?since=yesterday", 400, "invalid_query", "?since"),
    ("GET", "/v1/messages?until=2026-11-21", 400, "invalid_query", "?until"),
    ("GET", "/v1/messages?client_ref=%00", 400, "invalid_query", "?client_ref"),
    ("GET", "/v1/messages?tag=%0A", 400, "invalid_query", "?tag"),
    ("GET", "/v1/messages?limit=0", 400, "invalid_query", "?limit"),
    ("GET", "/v1/messages?limit=201", 400, "invalid_query", "?limit"),
    ("GET", "/v1/messages?limit=-1", 400, "invalid_query", "?limit"),
    ("GET", "/v1/messages?limit=ten", 400, "invalid_query", "?limit"),
    ("GET", "/v1/messages?limit=5&limit=6", 400, "invalid_query", "?limit"),
    ("GET", "/v1/messages?page=2", 400, "invalid_query", "?page"),
    ("GET", "/v1/messages?cursor=AAAA", 400, "invalid_cursor", ""),
    ("GET", "/v1/messages?cursor=%C3%A4", 400, "invalid_cursor", ""),
    ("GET", "/v1/links?batch=lnk_01h455vb4pex5vsknk084sn02q", 400, "invalid_query", "?batch"),
    ("GET", "/v1/links?limit=0", 400, "invalid_query", "?limit"),
    ("GET", "/v1/links/msg_01h455vb4pex5vsknk084sn02q", 400, "invalid_id", ""),
    ("GET", "/v1/links/lnk_01h455vb4pex5vsknk084sn02q", 404, "not_found", ""),
    ("GET", "/v1/links/lnk_01h455vb4pex5vsknk084sn02q/clicks", 404, "not_found", ""),
    ("PATCH", "/v1/messages/msg_01h455vb4pex5vsknk084sn02q", 415, "unsupported_media_type", ""),
    ("PATCH", "/v1/batches/x", 400, "invalid_id", ""),
    ("DELETE", "/v1/batches/bat_01h455vb4pex5vsknk084sn02q", 404, "not_found", ""),
    ("GET", "/v1/batches?limit=0", 400, "invalid_query", "?limit"),
    ("GET", "/v1/batches?cursor=x", 400, "invalid_cursor", ""),
    ("GET", "/v1/batches?status=loading", 400, "invalid_query", "?status"),
    ("GET", "/v1/messages/", 404, "not_found", ""),
    ("GET", "/v1/messages/1", 400, "invalid_id", ""),
    ("GET", "/v1/messages/msg_", 400, "invalid_id", ""),
    ("GET", "/v1/messages/bat_01h455vb4pex5vsknk084sn02q", 400, "invalid_id", ""),
    ("GET", "/v1/messages/msg_01h455vb4pex5vsknk084sn02u", 400, "invalid_id", ""),
    ("GET", "/v1/messages/msg_01h455vb4pex5vsknk084sn02q", 404, "not_found", ""),
    ("GET", "/v1/messages/00000000-0000-0000-0000-000000000000", 404, "not_found", ""),
    ("GET", "/v1/messages/ffffffff-ffff-ffff-ffff-ffffffffffff", 404, "not_found", ""),
    ("DELETE", "/v1/messages/msg_01h455vb4pex5vsknk084sn02q", 404, "not_found", ""),
    ("DELETE", "/v1/messages/x", 400, "invalid_id", ""),
    ("GET", "/v1/batches/msg_01h455vb4pex5vsknk084sn02q", 400, "invalid_id", ""),
    ("GET", "/v1/batches/bat_01h455vb4pex5vsknk084sn02q", 404, "not_found", ""),
    ("GET", "/v1/contacts/con_01h455vb4pex5vsknk084sn02q", 400, "invalid_id", ""),
    ("GET", "/v1/contacts/ctc_01h455vb4pex5vsknk084sn02q", 404, "not_found", ""),
    ("GET", "/v1/contacts?group=ctc_01h455vb4pex5vsknk084sn02q", 400, "invalid_query", "?group"),
    ("GET", "/v1/groups?kind=team", 400, "invalid_query", "?kind"),
    ("GET", "/v1/groups?contact=x", 400, "invalid_query", "?contact"),
    ("DELETE", "/v1/groups/grp_01h455vb4pex5vsknk084sn02q", 404, "not_found", ""),
    ("DELETE", "/v1/contact-attributes/%FF", 404, "not_found", ""),
    ("GET", "/v1/contacts?segment=grp_01h455vb4pex5vsknk084sn02q", 400, "invalid_query", "?segment"),
    ("GET", "/v1/contacts?segment=seg_01h455vb4pex5vsknk084sn02q", 404, "not_found", ""),
    ("GET", "/v1/segments/seg_01h455vb4pex5vsknk084sn02q/count", 404, "not_found", ""),
    ("GET", "/v1/segments?limit=0", 400, "invalid_query", "?limit"),
    ("GET", "/v1/suggested-audiences?seed=-1", 400, "invalid_query", "?seed"),
    ("GET", "/v1/sources/seg_01h455vb4pex5vsknk084sn02q", 400, "invalid_id", ""),
    ("POST", "/v1/sources/src_01h455vb4pex5vsknk084sn02q/test", 404, "not_found", ""),
    ("PUT", "/v1/messages", 405, "method_not_allowed", ""),
    ("DELETE", "/v1/batches", 405, "method_not_allowed", ""),
    ("GET", "/v1/estimates", 405, "method_not_allowed", ""),
];

/// What is refused, once all is done, of an account that never sent anything.
struct Untouched {
    key: String,
}

impl Untouched {
    async fn check(&self, t: &TestApp) {
        for list in ["/v1/messages", "/v1/batches"] {
            assert_eq!(t.get(list, &self.key).await.json()["data"], json!([]), "nothing stored: {list}");
        }
        let balance = t.get("/v1/me", &self.key).await.json()["balance"].clone();
        assert_eq!(
            (&balance["available"], &balance["held"]),
            (&json!("100.00"), &json!("0.00")),
            "nothing held or charged"
        );
    }
}

fn raw(t: &TestApp, path: &str, key: &str, body: impl Into<Vec<u8>>) -> RequestBuilder {
    t.request("POST", path).bearer_auth(key).header("content-type", "application/json").body(body.into())
}

/// The code and pointer of the field's refusal with that pointer; `detail` says something.
fn refusal_at(answer: &Answer, pointer: &str) -> Option<String> {
    let body = answer.json();
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", answer.text);
    assert!(body["detail"].as_str().is_some_and(|d| !d.is_empty()), "{body}");
    let errors = body["errors"].as_array()?;
    let at = errors.iter().find(|e| e["pointer"] == pointer)?;
    assert!(at["detail"].as_str().is_some_and(|d| !d.is_empty()), "{body}");
    Some(at["code"].as_str()?.to_owned())
}

/// A good message with its own members replaced or added to by those of a row.
fn with_members(members: &str) -> String {
    let mut body = "{".to_owned();
    for (name, good) in [("to", TO), ("text", "hello")] {
        if !members.contains(&format!("\"{name}\":")) {
            body += &format!("\"{name}\":\"{good}\",");
        }
    }
    body + members + "}"
}

#[tokio::test]
async fn fields_of_a_message() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let longer = [
        (format!(r#""text":"{}""#, "x".repeat(1_521)), "#/text", "too_long"),
        (format!(r#""text":"{}""#, "ж".repeat(661)), "#/text", "too_long"),
        (format!(r#""text":null,"data":"{}""#, "AAAA".repeat(444)), "#/data", "too_long"),
        (format!(r#""to":"+{}""#, "4".repeat(70)), "#/to", "phone_too_long"),
        (format!(r#""client_ref":"{}""#, "x".repeat(65)), "#/client_ref", "too_long"),
        (format!(r#""callback_url":"https://a.example/{}""#, "x".repeat(500)), "#/callback_url", "invalid_value"),
    ];
    let longer = longer.iter().map(|(members, pointer, code)| (members.as_str(), *pointer, *code));
    for (members, pointer, code) in FIELDS.iter().copied().chain(longer) {
        for path in ["/v1/messages", "/v1/estimates"] {
            // An estimate takes lists too, and tells of wrong numbers rather than refuse them.
            if path == "/v1/estimates" && (pointer.starts_with("#/to") || pointer == "#/partial") {
                continue;
            }
            let answer = t.send(raw(&t, path, &key, with_members(members))).await;
            if code == "malformed" {
                assert_eq!(answer.refusal(), (400, "malformed_json".into()), "{members}: {}", answer.text);
                continue;
            }
            assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{path} {members}: {}", answer.text);
            assert_eq!(refusal_at(&answer, pointer).as_deref(), Some(code), "{path} {members}: {}", answer.text);
        }
    }
    Untouched { key }.check(&t).await;
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let rows = [
        (json!({}), vec!["#/to", "#/text"]),
        (json!({"to": 1, "text": 2, "x": 3, "tags": [4]}), vec!["#/tags/0", "#/text", "#/to", "#/x"]),
        (
            json!({"to": "12", "from": "ж", "text": "", "validity_s": 1, "scheduled_at": "x", "tags": [""], "category": "y"}),
            vec!["#/to", "#/from", "#/category", "#/text", "#/scheduled_at", "#/validity_s", "#/tags/0"],
        ),
    ];
    for (body, pointers) in rows {
        let answer = t.post("/v1/messages", &key, body).await;
        let errors = answer.json()["errors"].as_array().unwrap().clone();
        let mut found: Vec<_> = errors.iter().map(|e| e["pointer"].as_str().unwrap()).collect();
        let mut expected = pointers;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
    let trunk = t.post("/v1/messages", &key, json!({"to": "+49 0151 12345678", "text": "a"})).await;
    assert_eq!(trunk.json()["errors"][0]["suggestion"], TO);
    Untouched { key }.check(&t).await;
}

#[tokio::test]
async fn bodies_that_are_no_object() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    for path in ["/v1/messages", "/v1/batches", "/v1/estimates"] {
        for (body, code) in MALFORMED {
            let answer = t.send(raw(&t, path, &key, *body)).await;
            assert_eq!(answer.refusal(), (400, (*code).into()), "{path} {}", String::from_utf8_lossy(body));
            refusal_at(&answer, "");
        }
        let deep = "[".repeat(100_000);
        let nested = format!("{{\"to\":{deep}");
        assert_eq!(t.send(raw(&t, path, &key, nested)).await.refusal(), (400, "malformed_json".into()));
    }
    let large = |n: usize| vec![b' '; n];
    assert_eq!(
        t.send(raw(&t, "/v1/messages", &key, large(1_048_577))).await.refusal(),
        (413, "payload_too_large".into())
    );
    assert_eq!(
        t.send(raw(&t, "/v1/batches", &key, large(16_777_217))).await.refusal(),
        (413, "payload_too_large".into())
    );
    for content_type in
        ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"]
    {
        let request = t.request("POST", "/v1/messages").bearer_auth(&key).body(with_members("\"express\":false"));
        let request = if content_type.is_empty() { request } else { request.header("content-type", content_type) };
        assert_eq!(t.send(request).await.refusal(), (415, "unsupported_media_type".into()), "{content_type}");
    }
    Untouched { key }.check(&t).await;
}

#[tokio::test]
async fn batches_paths_and_queries() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    for (body, pointer, code) in BATCHES {
        let answer = t.send(raw(&t, "/v1/batches", &key, *body)).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()), "{body}: {}", answer.text);
        assert_eq!(refusal_at(&answer, pointer).as_deref(), Some(*code), "{body}: {}", answer.text);
    }
    let many: Vec<_> = (0..100_001).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
    let answer = t.post("/v1/batches", &key, json!({"to": many, "text": "hi"})).await;
    assert_eq!(refusal_at(&answer, "#/to").as_deref(), Some("too_long"), "{}", answer.text);
    let wrong = vec!["nobody"; 5_000];
    let answer = t.post("/v1/batches", &key, json!({"to": wrong, "text": "hi"})).await;
    assert_eq!(answer.json()["errors"].as_array().map(Vec::len), Some(100), "the first hundred are explained");
    for (method, path, status, code, pointer) in PATHS {
        let answer = t.call(method, path, &key, None).await;
        assert_eq!(answer.refusal(), (*status, (*code).into()), "{method} {path}: {}", answer.text);
        assert!(pointer.is_empty() || refusal_at(&answer, pointer).is_some(), "{method} {path}: {}", answer.text);
    }
    Untouched { key }.check(&t).await;
}

#[tokio::test]
async fn credentials_that_do_not_count() {
    let t = TestApp::start().await;
    let (account, key) = t.account("a").await;
    let (other, other_key) = t.account("b").await;
    let expired = t.key(&account, Scopes::account_all(), Some(NOON - 1)).await;
    let reader = t
        .key(
            &account,
            "messages:read".parse::<carillon_domain::permission::Scope>().map(|s| Scopes::NONE.with(s)).unwrap(),
            None,
        )
        .await;
    let doomed = t.key(&account, Scopes::account_all(), None).await;
    let id = t.get("/v1/api-keys?limit=1", &doomed).await.json()["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(t.call("DELETE", &format!("/v1/api-keys/{id}"), &key, None).await.status, 204);
    let flipped = format!("{}x", &key[..key.len() - 1]);
    let good = json!({"to": TO, "text": "hello"});
    let rows: &[(&str, Value, u16, &str)] = &[
        ("", good.clone(), 401, "unauthenticated"),
        ("x", good.clone(), 401, "invalid_credential"),
        (&flipped, good.clone(), 401, "invalid_credential"),
        (&expired, good.clone(), 401, "expired_credential"),
        (&doomed, good.clone(), 401, "revoked_credential"),
        (&reader, good.clone(), 403, "forbidden"),
        ("", json!({"client_id": account.id.0, "to": TO, "text": "hello"}), 401, "unauthenticated"),
        (&key, json!({"client_id": other.id.0, "to": TO, "text": "hello"}), 403, "client_mismatch"),
        (&key, json!({"client_id": "me", "to": TO, "text": "hello"}), 400, "invalid_client_id"),
    ];
    for (credential, body, status, code) in rows {
        for path in ["/v1/messages", "/v1/estimates", "/v1/batches"] {
            let answer = t.post(path, credential, body.clone()).await;
            assert_eq!(answer.refusal(), (*status, (*code).into()), "{path} {credential} {body}");
        }
    }
    Untouched { key }.check(&t).await;
    Untouched { key: other_key }.check(&t).await;
}

#[tokio::test]
async fn keys_of_idempotency() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let send = |idempotency: &str, body: Value| {
        t.request("POST", "/v1/messages").bearer_auth(&key).header("idempotency-key", idempotency).json(&body)
    };
    let good = json!({"to": TO, "text": "hello", "scheduled_at": "2026-12-01T00:00:00Z"});
    let long = "k".repeat(256);
    for bad in ["", "\"\"", &long, "a\tb"] {
        assert_eq!(t.send(send(bad, good.clone())).await.refusal(), (400, "invalid_idempotency_key".into()), "{bad}");
    }
    let refused = t.send(send("k1", json!({"to": "x", "text": "hello"}))).await;
    assert_eq!(refused.status, 400);
    Untouched { key: key.clone() }.check(&t).await;
    let first = t.send(send("k1", good.clone())).await;
    assert_eq!(first.status, 202, "a refused request does not use its key up: {}", first.text);
    let reused = t.send(send("k1", json!({"to": TO, "text": "other"}))).await;
    assert_eq!(reused.refusal(), (422, "idempotency_mismatch".into()));
    let me = t.get("/v1/me", &key).await.json();
    assert_eq!(me["balance"]["held"], "0.05", "the mismatch held nothing more");
}

#[tokio::test]
async fn ids_of_others_and_money_that_is_not_there() {
    let t = TestApp::start().await;
    let (_, key) = t.account("a").await;
    let (_, other_key) = t.account("b").await;
    let body = json!({"to": TO, "text": "hello", "scheduled_at": "2026-12-01T00:00:00Z"});
    let id = t.post("/v1/messages", &key, body).await.json()["id"].as_str().unwrap().to_owned();
    for (method, path) in [("GET", "messages"), ("DELETE", "messages")] {
        let answer = t.call(method, &format!("/v1/{path}/{id}"), &other_key, None).await;
        assert_eq!(answer.refusal(), (404, "not_found".into()), "{method}");
    }
    let costly: Vec<_> = (0..2_001).map(|i| format!("+49151{:08}", 10_000_000 + i)).collect();
    for body in [json!({"to": costly[..2_000], "text": "x".repeat(200)}), json!({"to": costly, "text": "x"})] {
        let answer = t.post("/v1/batches", &other_key, body).await;
        assert_eq!(answer.refusal(), (402, "insufficient_credit".into()), "{}", answer.text);
        assert_eq!(answer.json()["available"], "100.00");
    }
    Untouched { key: other_key }.check(&t).await;
}

#[test]
fn there_are_at_least_150_of_them() {
    let rows = FIELDS.len() + MALFORMED.len() + BATCHES.len() + PATHS.len();
    assert!(rows >= 150, "{rows}");
}
