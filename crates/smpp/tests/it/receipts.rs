//! Receipts in the dialects carriers write.

use bytes::Bytes;
use carillon_smpp::receipt::{Receipt, State};
use carillon_smpp::tlv::{self, Tag, Tlvs};
use carillon_smpp::{DeliverSm, ShortMessage};
use proptest::prelude::*;

/// 2026-11-21 08:30:00 UTC.
const DATE: i64 = 1_795_249_800_000;

#[test]
fn texts_of_many_dialects_are_read() {
    use State as S;
    let table: [(&str, &str, Option<State>, Option<&str>); 24] = [
        (
            "id:123 sub:001 dlvrd:001 submit date:2611210829 done date:2611210830 stat:DELIVRD err:000 text:hello",
            "123",
            Some(S::Delivered),
            Some("000"),
        ),
        (
            "id:4F2A sub:001 dlvrd:000 submit date:2611210829 done date:261121083000 stat:UNDELIV err:0A7 text:",
            "4F2A",
            Some(S::Undeliverable),
            Some("0A7"),
        ),
        (
            "id:1 submitdate:2611210829 donedate:20261121083000 stat:EXPIRED err:1 Text:x",
            "1",
            Some(S::Expired),
            Some("1"),
        ),
        ("id:1 sub:1 err:0 Text:hi stat:DELIVRD", "1", Some(S::Delivered), Some("0")),
        ("stat:REJECTD id:77 err:65", "77", Some(S::Rejected), Some("65")),
        ("err:65,stat:REJECTD,id:77", "77", Some(S::Rejected), Some("65")),
        ("ID:77 STAT:DELETED ERR:1", "77", Some(S::Deleted), Some("1")),
        ("id: 77 stat: DELIVRD err: 000", "77", Some(S::Delivered), Some("000")),
        ("id:77 stat:DELIVERED err:", "77", Some(S::Delivered), None),
        ("id:77 stat:delivrd", "77", Some(S::Delivered), None),
        ("id:77 stat:FAILED err:12", "77", Some(S::Undeliverable), Some("12")),
        ("id:77 stat:UNDELIVERABLE", "77", Some(S::Undeliverable), None),
        ("id:77 stat:ACCEPTD", "77", Some(S::Accepted), None),
        ("id:77 stat:ENROUTE", "77", Some(S::Enroute), None),
        ("id:77 stat:UNKNOWN", "77", Some(S::Unknown), None),
        ("id:77 stat:WONDERFUL err:3", "77", None, Some("3")),
        ("id:77 stat: err:3", "77", None, Some("3")),
        ("id:77", "77", None, None),
        ("stat:DELIVRD", "", Some(S::Delivered), None),
        (
            "id:3b1e2f60-9d0c-4c3f-8f6b-0c1e3c2b9a11 stat:DELIVRD",
            "3b1e2f60-9d0c-4c3f-8f6b-0c1e3c2b9a11",
            Some(S::Delivered),
            None,
        ),
        ("id:1\r\nstat:DELIVRD\r\nerr:000", "1", Some(S::Delivered), Some("000")),
        ("id:1 stat:DELIVRD err:000 text:id:2 stat:UNDELIV err:9", "1", Some(S::Delivered), Some("000")),
        ("id:1 id:2 stat:DELIVRD stat:UNDELIV", "1", Some(S::Delivered), None),
        ("paid:9 restat:x valid:7", "", None, None),
    ];
    for (text, id, state, err) in table {
        let receipt = Receipt::parse(text.as_bytes());
        assert_eq!((&*receipt.id, receipt.state, receipt.err.as_deref()), (id, state, err), "{text}");
    }
}

#[test]
fn counts_dates_and_text_are_read() {
    let receipt = Receipt::parse(
        b"id:1 sub:002 dlvrd:001 submit date:2611210830 done date:261121083000 stat:DELIVRD err:000 text: hello: you ",
    );
    assert_eq!((receipt.submitted, receipt.delivered), (Some(2), Some(1)));
    assert_eq!((receipt.submit_date, receipt.done_date), (Some(DATE), Some(DATE)));
    assert_eq!((&*receipt.text, &*receipt.stat), ("hello: you", "DELIVRD"));
    let table = [
        ("2611210830", Some(DATE)),
        ("261121083000", Some(DATE)),
        ("20261121083000", Some(DATE)),
        ("2613210830", None),
        ("26112108", None),
        ("2611210830Z", None),
        ("", None),
    ];
    for (date, wanted) in table {
        for key in ["done date:", "donedate:", "Done_Date:", "done-date: "] {
            let text = format!("id:1 {key}{date} stat:DELIVRD");
            assert_eq!(Receipt::parse(text.as_bytes()).done_date, wanted, "{text}");
        }
    }
}

fn deliver(esm_class: u8, text: &'static str, parameters: &[(Tag, &[u8])]) -> DeliverSm {
    let mut raw = Vec::new();
    parameters.iter().for_each(|(tag, value)| tlv::push(&mut raw, *tag, value));
    ShortMessage {
        esm_class,
        short_message: Bytes::from_static(text.as_bytes()),
        tlvs: Tlvs(Bytes::from(raw)),
        ..ShortMessage::default()
    }
}

#[test]
fn a_receipt_is_told_from_a_message_and_parameters_beat_text() {
    let text = "id:1 stat:UNDELIV err:5";
    let id: (Tag, &[u8]) = (Tag::RECEIPTED_MESSAGE_ID, b"2\0");
    let state: (Tag, &[u8]) = (Tag::MESSAGE_STATE, &[2]);
    let payload: (Tag, &[u8]) = (Tag::MESSAGE_PAYLOAD, b"id:8 stat:DELIVRD");
    let wanted = |id: &'static str, state, intermediate| Some((id, state, intermediate));
    let undelivered = Some(State::Undeliverable);
    let delivered = Some(State::Delivered);
    let table = [
        ("marked", deliver(0x04, text, &[]), wanted("1", undelivered, false)),
        ("parameters beat text", deliver(0x04, text, &[id, state]), wanted("2", delivered, false)),
        ("parameters alone", deliver(0x04, "", &[id, state]), wanted("2", delivered, false)),
        ("in the payload", deliver(0x04, "", &[payload]), wanted("8", delivered, false)),
        (
            "unknown state: the text's",
            deliver(0x04, text, &[(Tag::MESSAGE_STATE, &[99])]),
            wanted("1", undelivered, false),
        ),
        (
            "empty id: the text's",
            deliver(0x04, text, &[(Tag::RECEIPTED_MESSAGE_ID, b"\0")]),
            wanted("1", undelivered, false),
        ),
        ("not marked, parameter", deliver(0, "", &[id, state]), wanted("2", delivered, false)),
        ("not marked, text", deliver(0, text, &[]), wanted("1", undelivered, false)),
        ("intermediate", deliver(0x20, "id:1 stat:ENROUTE", &[]), wanted("1", Some(State::Enroute), true)),
        ("marked, with UDHI", deliver(0x44, text, &[]), wanted("1", undelivered, false)),
        ("marked, nothing in it", deliver(0x04, "", &[]), wanted("", None, false)),
        ("a message", deliver(0, "hello", &[]), None),
        ("a message about receipts", deliver(0, "see id:1 stat:DELIVRD", &[]), None),
        ("a message that begins like one", deliver(0, "id: my passport", &[]), None),
    ];
    for (name, message, wanted) in table {
        let receipt = Receipt::of(&message);
        assert_eq!(receipt.as_ref().map(|r| (&*r.id, r.state, r.intermediate)), wanted, "{name}");
    }
    let message = deliver(0x04, text, &[(Tag::NETWORK_ERROR_CODE, &[3, 0, 34])]);
    assert_eq!(Receipt::of(&message).and_then(|receipt| receipt.network_error), Some((3, 34)));
}

#[test]
fn states_have_one_code_and_one_word_each() {
    for code in 0..=9 {
        let state = State::from_code(code).unwrap();
        assert_eq!((state.code(), State::from_stat(state.stat())), (code, Some(state)));
    }
    assert_eq!((State::from_code(10), State::from_stat("")), (None, None));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(content: Vec<u8>) {
        let _ = Receipt::parse(&content);
    }

    #[test]
    fn nothing_made_of_keys_makes_the_parser_panic(pieces in prop::collection::vec(prop_oneof![
        Just("id:"), Just("stat:"), Just("text:"), Just("submit date:"), Just("done"), Just(" "), Just(":"), Just("date:"), Just("DELIVRD"), Just("é"), Just("2611210830"),
    ], 0..20)) {
        let _ = Receipt::parse(pieces.concat().as_bytes());
    }

    #[test]
    fn the_order_of_keys_does_not_matter(
        order in Just(["id:4f2a", "sub:001", "dlvrd:001", "submit date:2611210830", "done date:2611210830", "stat:DELIVRD", "err:007"]).prop_shuffle(),
    ) {
        let text = order.join(" ");
        let receipt = Receipt::parse(text.as_bytes());
        prop_assert_eq!((&*receipt.id, receipt.state, receipt.err.as_deref()), ("4f2a", Some(State::Delivered), Some("007")));
        prop_assert_eq!((receipt.submit_date, receipt.done_date), (Some(DATE), Some(DATE)));
    }
}
