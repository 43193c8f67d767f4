//! What is taken, what is refused, and who wins.

use secrecy::ExposeSecret;

use super::*;

fn with(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Loaded, Mistakes> {
    load(&Sources {
        file: (!file.is_empty()).then(|| ("my.toml".to_owned(), file.to_owned())),
        environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        flags: flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect(),
    })
}

#[test]
fn the_later_source_wins() {
    let file = "[prices]\nper_part_cents = 6\n[otp]\nlength = 8";
    let environment = [
        ("PORT", "9000"),
        ("PRICE_PER_PART_CENTS", "7"),
        ("CARILLON_OTP__DEADLINE_MS", "3000"),
        ("REDIS_URL", "redis://x"),
        ("HOME", "/"),
    ];
    let loaded = with(file, &environment, &[("data.folder", "/tmp/d")]).unwrap();
    let c = loaded.config;
    assert_eq!((c.prices.per_part_cents, c.otp.length, c.otp.deadline_ms), (7, 8, 3_000));
    assert_eq!(c.server.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(c.database_url(), "sqlite:/tmp/d/carillon.db");
    assert_eq!(loaded.remarks.len(), 1);
    let c = with("", &[("POSTGRES_URL", "postgres://a"), ("DATABASE_URL", "postgres://b")], &[]).unwrap().config;
    assert_eq!(c.database_url(), "postgres://b");
    assert!(!format!("{c:?}").contains("postgres://b"), "it may hold a password");
}

#[test]
fn connections_of_a_file_replace_the_sandbox() {
    let file = "[[connection]]\nname = \"acme one\"\nkind=\"smpp\"";
    assert!(with(file, &[], &[]).unwrap_err().0.iter().any(|m| m.contains("`host` is needed")));
    let file = "[[connection]]\nname = \"acme-1\"\nkind=\"smpp\"\nhost=\"h\"\nsystem_id=\"u\"\nwindow=10";
    let c = with(
        file,
        &[("CARILLON_CONNECTION__ACME_1__PASSWORD", "1234"), ("CARILLON_CONNECTION__ACME_1__RATE", "5")],
        &[],
    )
    .unwrap()
    .config;
    let [k] = &c.connections[..] else { panic!("one connection") };
    assert_eq!((k.password.expose_secret(), k.rate, k.in_doubt(), k.port), ("1234", 5, 40, 2775));
}

#[test]
fn every_mistake_is_named_at_once() {
    let file = "[otp]\nlength = \"six\"\nalfabet = \"x\"\n[nonsense]\na = 1\n[[connection]]\nname=\"c\"\nkind=\"smoke\"\ncolour=1\n[log]\nformat=\"xml\"";
    let environment = [
        ("CARILLON_OTP__DEADLINE_MS", "soon"),
        ("CARILLON_OTP__NOPE", "1"),
        ("CARILLON_CONNECTION__D__RATE", "1"),
        ("PORT", "high"),
    ];
    let mistakes = with(file, &environment, &[("log.format", "yaml")]).unwrap_err().0.join("\n");
    for expected in [
        "my.toml: `otp.length`",
        "my.toml: `otp.alfabet` is not a setting",
        "my.toml: `nonsense.a` is not a setting",
        "connection `c`: `kind`",
        "connection `c`: `colour`",
        "my.toml: `log.format`: unknown variant `xml`",
        "CARILLON_OTP__DEADLINE_MS: `otp.deadline_ms`",
        "CARILLON_OTP__NOPE: `otp.nope` is not a setting",
        "there is no connection `d`",
        "PORT: `server.listen`",
        "--log-format",
    ] {
        assert!(mistakes.contains(expected), "{expected} in\n{mistakes}");
    }
    assert!(with("x = ", &[], &[]).unwrap_err().0[0].starts_with("my.toml: TOML parse error"));
    assert!(with("[otp]\nlength = 3", &[], &[]).unwrap_err().0[0].contains("`otp.length` is 4 to 12"));
    assert!(
        with("[[connection]]\nname=\"a\"\nkind=\"sandbox\"\n[[connection]]\nname=\"a\"\nkind=\"sandbox\"", &[], &[])
            .is_err()
    );
}

/// The example in the default file names every setting of a connection with its default.
#[test]
fn the_documented_connection_is_the_connection_there_is() {
    let example = DEFAULTS.split("# [[connection]]\n").nth(1).unwrap();
    let lines = example.lines().take_while(|l| l.starts_with("# ")).map(|l| &l[2..]).collect::<Vec<_>>().join("\n");
    let documented: Table = lines.parse().unwrap();
    let text = format!("{:?}", documented.clone().try_into::<Connection>().unwrap());
    let minimal =
        "name=\"acme\"\nkind=\"smpp\"\nhost=\"smpp.example.com\"\nsystem_id=\"user\"".parse::<Table>().unwrap();
    assert_eq!(
        text,
        format!("{:?}", minimal.try_into::<Connection>().unwrap()),
        "documented defaults are the defaults"
    );
    let fields = text.matches(": ").count();
    assert_eq!(documented.len(), fields, "each field is documented: {text}");
}

#[test]
fn mail_needs_a_sender_and_a_place_for_links() {
    let mistakes = |file: &str| with(file, &[], &[]).map_or_else(|m| m.0, |_| Vec::new());
    let whole = "[server]\npublic_url = \"https://a.example\"\n[email]\nsmtp_host = \"m.example\"\nfrom = \"C <c@a.example>\"\n";
    assert!(mistakes(whole).is_empty());
    for (file, setting) in [
        ("[email]\nsmtp_host = \"m.example\"\nfrom = \"c@a.example\"".to_owned(), "`email.link_url`"),
        (whole.replace("C <c@a.example>", "nobody"), "`email.from`"),
        (format!("{whole}tls = \"none\"\nuser = \"u\""), "`email.user`"),
        (format!("{whole}reset_minutes = 1"), "`email.reset_minutes`"),
        (format!("{whole}link_url = \"https://a.example/path\""), "`email.link_url`"),
    ] {
        let found = mistakes(&file);
        assert!(found.len() == 1 && found[0].contains(setting), "{setting}: {found:?}");
    }
}
