use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::admission::{KeyRegistry, KeyStatus, KeyStore};
use crate::cli::{migrate, user};
use crate::storage::sqlite::Sqlite;

/// The three commands as the command line reads them.
#[derive(Debug, Parser)]
enum Line {
    Key(KeyArgs),
    User(user::UserArgs),
    Migrate(migrate::MigrateArgs),
}

fn cfx(data: &Path, line: &str) -> Result<(), Failure> {
    let words = ["cfx"].into_iter().chain(line.split(' ')).chain(["--data", data.to_str().unwrap()]);
    match Line::try_parse_from(words).map_err(|error| Failure::Usage(error.to_string()))? {
        Line::Key(args) => run(args),
        Line::User(args) => user::run(args),
        Line::Migrate(args) => migrate::run(args),
    }
}

/// A data folder with a pepper and the user ada.
fn installation() -> TempDir {
    let data = TempDir::new().unwrap();
    pepper::for_dev(data.path()).unwrap();
    cfx(data.path(), "user create Ada@Example.org").unwrap();
    data
}

fn keys(data: &Path) -> Vec<KeyRow> {
    let store: Arc<Sqlite> = Sqlite::open(&data.join("cfx.db")).unwrap();
    wait(async { Ok(KeyRegistry::list(&*store, None).await?) }).unwrap()
}

fn says(result: Result<(), Failure>, what: &str) {
    let text = result.unwrap_err().to_string();
    assert!(text.contains(what), "{text}");
}

#[test]
fn a_key_is_made_with_its_limits_rotated_with_them_and_revoked() {
    let data = installation();
    let line = "key create --user ada@example.org --label laptop --expires 90d --stages plan,code --models a,b --conf none --daily 7";
    cfx(data.path(), line).unwrap();
    let made = keys(data.path()).remove(0);
    assert_eq!((&made.email[..], &made.label[..], made.daily_requests), ("ada@example.org", "laptop", Some(7)));
    assert_eq!(made.stages, Some(vec![Stage::Plan, Stage::Code]));
    assert_eq!(made.models, Some(vec!["a".to_owned(), "b".to_owned()]));
    let life = made.created_at.until(made.expires_at.unwrap());
    assert_eq!(life, Duration::from_secs(90 * 86_400));

    cfx(data.path(), &format!("key rotate {}", made.prefix)).unwrap();
    let rows = keys(data.path());
    let (fresh, old) = if rows[0].id == made.id { (&rows[1], &rows[0]) } else { (&rows[0], &rows[1]) };
    assert_eq!((old.status, fresh.status), (KeyStatus::Revoked, KeyStatus::Active));
    assert_eq!((&fresh.stages, &fresh.models, fresh.expires_at), (&old.stages, &old.models, old.expires_at));

    let refused = cfx(data.path(), &format!("key rotate {}", old.id.0));
    says(refused, "revoked or replaced already");
    cfx(data.path(), &format!("key revoke {}", fresh.id.0)).unwrap();
    assert!(keys(data.path()).iter().all(|row| row.status == KeyStatus::Revoked));
    says(cfx(data.path(), &format!("key revoke {}", fresh.id.0)), "revoked already");
    cfx(data.path(), "key list --user ada@example.org --json").unwrap();
    cfx(data.path(), "user list").unwrap();
}

#[test]
fn a_key_made_by_the_command_opens_with_the_pepper_of_the_folder() {
    let data = installation();
    let store = Sqlite::open(&data.path().join("cfx.db")).unwrap();
    cfx(data.path(), "key create --user ada@example.org").unwrap();
    let row = keys(data.path()).remove(0);
    let public_id = row.prefix.strip_prefix("cfx_live_").unwrap().to_owned();
    let found = wait(async { Ok(KeyStore::find(&*store, &public_id).await?) }).unwrap().unwrap();
    assert!(found.active && found.principal.key == row.id);
}

#[test]
fn a_key_rotated_with_an_overlap_stays_valid_for_as_long() {
    let data = installation();
    cfx(data.path(), "key create --user ada@example.org --daily 7").unwrap();
    let old = keys(data.path()).remove(0);
    cfx(data.path(), &format!("key rotate {} --overlap 24h", old.prefix)).unwrap();
    let rows = keys(data.path());
    let replaced = rows.iter().find(|row| row.id == old.id).unwrap();
    let fresh = rows.iter().find(|row| row.id != old.id).unwrap();
    assert_eq!((replaced.status, fresh.daily_requests), (KeyStatus::Active, Some(7)));
    let end = replaced.retires_at.unwrap();
    assert_eq!(fresh.created_at.until(end), Duration::from_secs(86_400));
    assert_eq!([state(replaced, Timestamp(end.0 - 1)), state(replaced, end)], ["active", "replaced"]);
    says(cfx(data.path(), &format!("key rotate {}", old.prefix)), "revoked or replaced already");
    says(cfx(data.path(), "key rotate x --overlap 1w"), "as in 90d");
}

#[test]
fn a_pepper_that_the_keys_were_not_made_with_is_refused() {
    let data = installation();
    cfx(data.path(), "key create --user ada@example.org").unwrap();
    std::fs::write(data.path().join("pepper"), "another pepper, long enough\n").unwrap();
    let refused = cfx(data.path(), "key create --user ada@example.org");
    assert!(matches!(&refused, Err(Failure::Configuration(_))), "{refused:?}");
    says(refused, "KEY_HASH_PEPPER is another one than the keys in this store were made with");
    says(cfx(data.path(), &format!("key rotate {}", keys(data.path())[0].prefix)), "KEY_HASH_PEPPER");
    assert_eq!(keys(data.path()).len(), 1);
    cfx(data.path(), &format!("key revoke {}", keys(data.path())[0].prefix)).unwrap();
}

#[test]
fn mistakes_say_what_to_do() {
    let data = installation();
    says(cfx(data.path(), "key create --user ada@example.org --models nowhere"), "has no model \"nowhere\"");
    says(cfx(data.path(), "user create ada@example.org"), "there is a user ada@example.org already");
    says(cfx(data.path(), "user create ada"), "it has no @");
    says(cfx(data.path(), "key create --user bob@example.org"), "`cfx user create bob@example.org` makes one");
    says(cfx(data.path(), "key create --user ada@example.org --expires 90"), "as in 90d");
    says(
        cfx(data.path(), "key create --user ada@example.org --stages plan,paint"),
        "one of plan, code, review, direct",
    );
    says(cfx(data.path(), "key revoke nothing"), "there is no key nothing");
    let empty = TempDir::new().unwrap();
    says(cfx(empty.path(), "key list"), "there is no database at");
    assert!(!empty.path().join("cfx.db").exists());
}

#[test]
fn migrate_makes_the_database_and_a_dry_run_does_not() {
    let data = TempDir::new().unwrap();
    let folder = data.path().join("new");
    cfx(&folder, "migrate --dry-run").unwrap();
    assert!(!folder.exists());
    cfx(&folder, "migrate").unwrap();
    cfx(&folder, "migrate").unwrap();
    assert!(folder.join("cfx.db").exists());
}

#[test]
fn a_key_is_named_by_enough_of_its_prefix() {
    let data = installation();
    for _ in 0..2 {
        cfx(data.path(), "key create --user ada@example.org").unwrap();
    }
    let rows = keys(data.path());
    let whole = rows[0].prefix.clone();
    assert_eq!(choose(rows.clone(), &whole).unwrap().id, rows[0].id);
    assert_eq!(choose(rows.clone(), &whole["cfx_live_".len()..]).unwrap().id, rows[0].id);
    assert!(choose(rows.clone(), "cfx_live_").is_err() && choose(rows.clone(), "").is_err());
    let mut twins = rows;
    twins[0].prefix = "cfx_live_AAAA1".to_owned();
    twins[1].prefix = "cfx_live_AAAA2".to_owned();
    assert!(matches!(choose(twins, "AAAA"), Err(Failure::Usage(text)) if text.contains("may mean 2 keys")));
}

#[test]
fn lives_are_whole_numbers_with_a_unit() {
    assert_eq!(life("90d"), Ok(Duration::from_secs(90 * 86_400)));
    assert_eq!(life("12h"), Ok(Duration::from_secs(12 * 3_600)));
    for wrong in ["", "d", "0d", "-1d", "1.5d", "90", "90 d", "4000000000d", "1é"] {
        assert!(life(wrong).is_err(), "{wrong:?}");
    }
}
