//! House style that a machine can check. Each finding names its remedy.

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this holds more than one thing.
const LINES_MAX: usize = 600;

/// Something a line may not hold.
struct Rule {
    name: &'static str,
    /// Whether a file, by its path from the root, is bound by it.
    binds: fn(&str) -> bool,
    /// Whether a line breaks it.
    broken_by: fn(&str) -> bool,
    remedy: &'static str,
    /// Lines that break it and lines that do not: a rule that finds nothing is no rule.
    bad: &'static [&'static str],
    good: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        name: "left undone",
        binds: rust,
        broken_by: |line| ["todo!(", "unimplemented!(", "FIXME", "XXX"].iter().any(|mark| line.contains(mark)),
        remedy: "finish it, or refuse the case with an error that says what to do",
        bad: &["    todo!()", "unimplemented!(\"later\")", "// FIXME: wrong"],
        good: &["let todo = 1;", "// XX"],
    },
    Rule {
        name: "SQL outside the store",
        // The simulation looks into the file behind the store's back: it judges the store.
        binds: |path| rust(path) && !path.starts_with("crates/store/") && !path.contains("/pipeline/sim/"),
        broken_by: |line| !comment(line) && is_sql(line),
        remedy: "move the query into crates/store, to the file of its noun",
        bad: &[
            "query(\"SELECT id FROM message\")",
            "INSERT INTO account",
            "\"UPDATE message SET x = 1\"",
            "DELETE FROM key",
        ],
        good: &["// SELECT the best", "Select::new()", "let update = set;", "\"UPDATE your client\""],
    },
    Rule {
        name: "SQL that only PostgreSQL speaks",
        binds: |path| rust(path) && path.starts_with("crates/store/src/") && !one_dialect(path),
        broken_by: |line| !comment(line) && is_postgres_only(line),
        remedy: "bind the time, CAST(x AS type), list values with the helper for IN, and write in statements of their own",
        bad: &[
            "WHERE id = ANY($1)",
            "\"SELECT now()\"",
            "SELECT $1::bigint",
            "SELECT id::text FROM message",
            "WITH gone AS (DELETE FROM message RETURNING id)",
            "WHERE name ILIKE $1",
            "FOR UPDATE SKIP LOCKED",
        ],
        good: &[
            "Instant::now()",
            "clock.now()",
            "sqlx::types::uuid::Uuid",
            "use uuid::Uuid;",
            "FOR UPDATE",
            "// now() is forbidden",
        ],
    },
    Rule {
        name: "a sum without its type",
        binds: |path| rust(path) && path.starts_with("crates/store/src/") && !one_dialect(path),
        broken_by: |line| !comment(line) && line.to_ascii_uppercase().contains(" SUM(") && !line.contains("CAST("),
        remedy: "CAST(sum(x) AS BIGINT): PostgreSQL's sum of a bigint is NUMERIC, which does not decode as i64",
        bad: &["SELECT sum(held) FROM account", "SELECT account_no, SUM(held)"],
        good: &["SELECT CAST(sum(held) AS BIGINT) FROM account", "rows.iter().sum()", "// a sum(x)"],
    },
    Rule {
        name: "a path of one machine",
        binds: |_| true,
        broken_by: |line| ["home", "work", "root", "Users"].iter().any(|folder| has_absolute(line, folder)),
        remedy: "name it relative to the repository, or take it from the environment",
        bad: &["cd /home/me", "\"/work/main\"", "=/root/.cargo"],
        good: &["https://example.com/work/1", "the /workspace", "src/home/page.rs", "./root/x"],
    },
];

/// Files named after one database hold what the two do not share; so do the helpers that write what differs, and the harness.
fn one_dialect(path: &str) -> bool {
    ["sqlite", "postgres", "store/src/db.rs", "store/src/testing.rs"].iter().any(|part| path.contains(part))
}

fn rust(path: &str) -> bool {
    path.ends_with(".rs") && path != "crates/server/tests/tidy.rs" // which quotes what it forbids
}

fn comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn is_sql(line: &str) -> bool {
    let update = line.split_once("UPDATE ").is_some_and(|(_, rest)| rest.contains(" SET "));
    update || ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE "].iter().any(|word| line.contains(word))
}

fn is_postgres_only(line: &str) -> bool {
    let words = ["= ANY(", "ILIKE", "SKIP LOCKED", "AS (INSERT", "AS (UPDATE", "AS (DELETE"];
    let types = ["bigint", "text", "uuid", "jsonb", "timestamptz", "bytea", "numeric", "boolean"];
    // A cast ends with the type; a path of Rust goes on (`uuid::Uuid`), or is imported.
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "_:;{".contains(c));
    let cast = types
        .iter()
        .flat_map(|name| [format!("::{name}"), format!("::{}", name.to_ascii_uppercase())])
        .any(|cast| line.match_indices(&cast).any(|(at, _)| ends(&line[at + cast.len()..])));
    let now = line.match_indices("now()").any(|(at, _)| at == 0 || " (,\"=".contains(&line[at - 1..at]));
    cast || now || words.iter().any(|word| line.contains(word))
}

/// `/folder/` at the beginning of a path, not in the middle of one or of a URL.
fn has_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(&format!("/{folder}/"))
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "._-}/)*".contains(c)))
}

/// Our own text files, with their paths from the root.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder just listed is there") {
            let path: PathBuf = entry.expect("a folder just opened can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ours =
                name != ".git" && !name.starts_with("target") && !["node_modules", "data", "dist"].contains(&&*name);
            if path.is_dir() && ours {
                folders.push(path);
            } else if path.is_file() && ours && name != "Cargo.lock" {
                let relative = path.strip_prefix(&root).expect("it was found under the root").display().to_string();
                // What is not UTF-8 is no text of ours.
                files.extend(fs::read_to_string(&path).ok().map(|text| (relative, text)));
            }
        }
    }
    files
}

fn fail_with(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn no_line_breaks_a_rule() {
    let mut findings = Vec::new();
    for (path, text) in files().iter().filter(|(path, _)| path != "crates/server/tests/tidy.rs") {
        for rule in RULES.iter().filter(|rule| (rule.binds)(path)) {
            let lines = text.lines().enumerate().filter(|(_, line)| (rule.broken_by)(line));
            findings.extend(lines.map(|(index, _)| format!("{path}:{}: {}: {}", index + 1, rule.name, rule.remedy)));
        }
    }
    fail_with(findings);
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let missing = files().into_iter().filter(|(path, text)| path.ends_with(".rs") && !text.starts_with("//! "));
    fail_with(missing.map(|(path, _)| format!("{path}: begin it with //! and what it is for")).collect());
}

#[test]
fn no_file_is_longer_than_a_room() {
    let long = files().into_iter().filter(|(path, text)| path.ends_with(".rs") && text.lines().count() > LINES_MAX);
    let remedy = format!("has more than {LINES_MAX} lines: find the second thing it does and give it a file");
    fail_with(long.map(|(path, _)| format!("{path} {remedy}")).collect());
}

#[test]
fn rules_find_what_they_forbid_and_nothing_else() {
    for rule in RULES {
        for line in rule.bad {
            assert!((rule.broken_by)(line), "'{}' should find {line:?}", rule.name);
        }
        for line in rule.good {
            assert!(!(rule.broken_by)(line), "'{}' should not find {line:?}", rule.name);
        }
    }
}
