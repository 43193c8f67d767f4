//! Texts, and what recipients read; texts that are refused, and where.

use super::*;
use proptest::prelude::*;

fn own(name: &str) -> Option<&'static str> {
    match name {
        "name" => Some("Ada"),
        "full" => Some("  ada king-noel "),
        "city" => Some("Bonn"),
        "sum_2" => Some("12.50"),
        "points" => Some("250"),
        "vip" => Some("false"),
        "born" => Some("1815-12-10"),
        "at" => Some("2026-11-21T19:30:00"),
        "empty" => Some(""),
        "code" => Some("{{name}}"),
        _ => None,
    }
}

fn filled(text: &str) -> Result<String, String> {
    let template = Template::parse(text).map_err(|e| e.to_string())?;
    template.fill(own).map_err(str::to_owned)
}

#[test]
fn texts_and_what_a_recipient_reads() {
    for (text, expected) in [
        ("", ""),
        ("plain { text } }}", "plain { text } }}"),
        ("Hi {{name}}!", "Hi Ada!"),
        ("{{ name }}{{\tsum_2\n}}", "Ada12.50"),
        ("Hi {{first|default(\"friend\")}}.", "Hi friend."),
        ("Hi {{ first | default( 'you' ) }}.", "Hi you."),
        ("{{name|default(\"friend\")}}", "Ada"),
        ("{{first|default(name)}}", "Ada"),
        ("[{{empty|default(\"x\")}}]", "[]"),
        ("{{first|default(\"say \\\"hi\\\" }}\")}}", "say \"hi\" }}"),
        ("{{ \"{{\" }}name}}", "{{name}}"),
        ("{{ '{%' }}", "{%"),
        ("{{code}}", "{{name}}"),
        ("Grüße, {{name}} 😀", "Grüße, Ada 😀"),
        ("{{name|upper}} {{name|lower}}", "ADA ada"),
        ("[{{full|trim|title}}] [{{full|trim|capitalize}}]", "[Ada King-Noel] [Ada king-noel]"),
        ("{{full|trim|truncate(8)}}|{{name|truncate(8)}}", "ada k...|Ada"),
        ("{{first|upper|default(\"friend\")}}", "friend"),
        ("{{born|date(\"%d.%m.%Y\")}} {{at|date(\"%H:%M\")}}", "10.12.1815 19:30"),
        ("{{name|date(\"%d.%m.%Y\")}}", "Ada"),
        ("{{sum_2|int}} {{sum_2|float}} {{name|length}} {{name|int}}", "12 12.5 3 0"),
        ("{% if city == \"Bonn\" %}here{% else %}there{% endif %}", "here"),
        ("{% if city != \"Bonn\" %}a{% elif points|int >= 250 %}b{% else %}c{% endif %}!", "b!"),
        ("{% if points|int > 1000 and name == \"Ada\" %}a{% endif %}b", "b"),
        ("{% if not (vip == \"true\") or last == \"x\" %}a{% endif %}", "a"),
        ("{% if last is defined %}{{last}}{% else %}nobody{% endif %}", "nobody"),
        ("{% if last is not defined and name is defined %}{{name}}{% endif %}", "Ada"),
        ("{% if 'on' in city and 'x' not in city %}{% if name < 'B' %}1{% endif %}2{% endif %}", "12"),
        ("{%if points|int == 250%}a{%endif%}", "a"),
    ] {
        assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
    }
    assert_eq!(filled("{{name}} {{last}}"), Err("last".into()), "what is missing is named");
    assert_eq!(filled("{{last|upper}}"), Err("last".into()));
    assert_eq!(filled("{{a|default(b)}}"), Err("b".into()));
    assert_eq!(filled("{% if last == \"x\" %}a{% endif %}"), Err("last".into()));
    assert_eq!(Template::parse("a{{x}}b{{ \"c\" }}d").map(|t| t.fixed()), Ok("abcd".into()));
}

#[test]
fn what_is_missing_and_what_is_named() {
    let rows: [(&str, &[&str], &[&str]); 4] = [
        ("{{name}} {{a}} {{b|default('x')}} {{c|upper}} {{a}}", &["a", "c"], &["a", "b", "c", "name"]),
        ("{% if d is defined %}{{d}} {{e}}{% endif %}", &[], &["d", "e"]),
        ("{% if d == 'x' %}{{e}}{% else %}{{f}}{% endif %}", &["d", "f"], &["d", "e", "f"]),
        ("plain", &[], &[]),
    ];
    for (text, missing, names) in rows {
        let template = Template::parse(text).unwrap();
        assert_eq!(template.missing(own), missing, "{text}");
        assert_eq!(template.names().into_iter().collect::<Vec<_>>(), names, "{text}");
    }
}

#[test]
fn texts_that_are_refused_and_where() {
    use TemplateError::{Condition, Deep, Expression, Filter, Kinds, Open, Statement, Unpaired};
    let nested = format!("{}x{}", "{% if a is defined %}".repeat(17), "{% endif %}".repeat(17));
    let brackets = format!("{{{{{}name{}}}}}", "(".repeat(40), ")".repeat(40));
    let nots = format!("{{% if {}a is defined %}}{{% endif %}}", "not ".repeat(5_000));
    let filters = format!("{{{{name{}}}}}", "|upper".repeat(5_000));
    for (text, error) in [
        ("{{", Open(0)),
        ("é {{name", Open(2)),
        ("{{name|default(\"x\")", Open(0)),
        ("{% if a == \"x\"", Open(0)),
        ("{{}}", Expression(0)),
        ("ab{{ }}", Expression(2)),
        ("{{1st}}", Expression(0)),
        ("{{first name}}", Expression(0)),
        ("{{name.first}}", Expression(0)),
        ("{{name[0]}}", Expression(0)),
        ("{{name()}}", Expression(0)),
        ("{{name ~ name}}", Expression(0)),
        ("{{name * 1000000}}", Expression(0)),
        ("{{[name]}}", Expression(0)),
        ("{{name|replace(\"a\", \"b\")}}", Filter(0)),
        ("{{name|\"friend\"}}", Filter(0)),
        ("{{name|default(1)}}", Filter(0)),
        ("{{name|default(\"a\\n\")}}", Expression(0)),
        ("{{name|truncate(3)}}", Filter(0)),
        ("{{name|truncate(99999999)}}", Filter(0)),
        ("{{born|date(\"%Q!%~\")}}", Filter(0)),
        ("{{born|date(\"%900d\")}}", Filter(0)),
        ("{{true}}", Expression(0)),
        ("{{-name}}", Expression(0)),
        ("{{name}} {% if points > 100 %}x{% endif %}", Kinds(9)),
        ("{% if points|int == \"100\" %}x{% endif %}", Kinds(0)),
        ("{% if vip %}x{% endif %}", Condition(0)),
        ("{% if name and vip %}x{% endif %}", Condition(0)),
        ("{% if name is none %}x{% endif %}", Condition(0)),
        ("{{name}} {% if name is defined %}x", Unpaired(9)),
        ("x{% endif %}", Unpaired(1)),
        ("{% if a is defined %}{% else %}{% else %}{% endif %}", Unpaired(31)),
        ("{% for x in name %}{{x}}{% endfor %}", Statement(0)),
        ("{% set a = name %}", Statement(0)),
        ("{% include \"x\" %}", Statement(0)),
        ("{# {{name}} #}", Statement(0)),
        (&nested, Deep(336)),
        (&brackets, Deep(0)),
        (&nots, Deep(0)),
        (&filters, Deep(0)),
    ] {
        assert_eq!(Template::parse(text), Err(error), "{text}");
    }
    let long = format!("{{{{{}}}}}", "n".repeat(NAME_MAX + 1));
    assert_eq!(Template::parse(&long), Err(Expression(0)));
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "[a{}%#|\"'\\\\ d(e)=in10]{0,60}") {
        if let Ok(template) = Template::parse(&text) {
            let names = template.names().len();
            prop_assert!(template.fill(|_| Some("v")).is_ok());
            prop_assert!(template.missing(|_| None).len() <= names);
        }
    }

    #[test]
    fn without_places_it_is_the_text(text in "[^{]{0,40}") {
        let template = Template::parse(&text);
        prop_assert_eq!(template.map(|t| t.fixed()), Ok(text));
    }
}
