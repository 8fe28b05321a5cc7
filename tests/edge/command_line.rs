//! The binary as a stranger meets it: help, exit codes, the banner, and a stop that stops.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::process::printed;
use crate::harness::{CHAT, Client, Harness, Process, Request, cfx};

/// `cfx dev` in a folder of its own, on free ports, seen up to its banner.
struct Dev {
    process: Process,
    banner: String,
    http: std::net::SocketAddr,
}

impl Dev {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let (http, https, admin) = (free(), free(), free());
        let mut command = cfx();
        command.env_remove("KEY_HASH_PEPPER").env_remove("LITELLM_API_KEY").current_dir(folder);
        command.args([
            "dev",
            "--http",
            &http.to_string(),
            "--https",
            &https.to_string(),
            "--admin",
            &admin.to_string(),
        ]);
        command.args(arguments);
        let process = Process::spawn(command);
        let ready = process.wait_for_line("ready").and_then(|_| process.wait_for_line("Ctrl-C"));
        ready.unwrap_or_else(|log| panic!("no banner:\n{log}"));
        Self { banner: process.log(), process, http }
    }

    fn curl_line(&self) -> String {
        let line = self.banner.lines().find(|line| line.trim_start().starts_with("curl "));
        line.unwrap_or_else(|| panic!("no curl line in:\n{}", self.banner)).trim().to_string()
    }

    fn key(&self) -> String {
        let line = self.curl_line();
        let from = line.find("cfx_live_").unwrap_or_else(|| panic!("no key in {line}"));
        line[from..].chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
    }

    fn chat(&self, stream: bool) -> crate::harness::Streaming {
        let body =
            json!({"model": "plan", "stream": stream, "messages": [{"role": "user", "content": "one two three four"}]});
        Client::plain(self.http).stream(&Request::post(CHAT, body.to_string()).key(&self.key()))
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn dev_ends_in_a_banner_whose_curl_line_works_when_pasted() {
    let folder = folder();
    let dev = Dev::start(folder.path());
    for part in ["is ready", &format!("http://{}/v1", dev.http), "cfx_live_", "echo", "Ctrl-C"] {
        assert!(dev.banner.contains(part), "{part:?} is not in:\n{}", dev.banner);
    }
    let output = Command::new("sh").arg("-c").arg(dev.curl_line()).output().expect("a shell");
    if output.status.code() == Some(127) {
        return; // no curl here; the request itself is tried below
    }
    let text = printed(&output);
    assert!(output.status.success() && text.contains("data: [DONE]"), "{text}");
    assert!(text.contains("delta"), "a completion: {text}");
}

#[test]
fn the_echo_model_streams_word_by_word_and_says_that_nobody_was_asked() {
    let folder = folder();
    let dev = Dev::start(folder.path());
    let (events, whole) = dev.chat(true).rest();
    let text: String = events
        .iter()
        .filter_map(|event| serde_json::from_str::<serde_json::Value>(event.strip_prefix("data: ")?).ok())
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_string))
        .collect();
    assert!(whole && text.contains("one two three four"), "{text}");
    assert!(text.to_lowercase().contains("no provider"), "{text}");
    assert!(events.len() > 6, "an event a word: {events:?}");
}

#[test]
fn ctrl_c_stops_it_within_two_seconds_even_in_the_middle_of_a_stream() {
    let folder = folder();
    let mut dev = Dev::start(folder.path());
    let mut stream = dev.chat(true);
    stream.event();
    stream.leave();
    let asked = Instant::now();
    dev.process.signal("INT");
    let status = dev.process.wait_for_exit();
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    assert!(status.success() || status.code().is_none_or(|code| code == 130), "{status}");
}

#[test]
fn a_second_start_keeps_key_and_data() {
    let folder = folder();
    let mut first = Dev::start(folder.path());
    let key = first.key();
    assert_eq!(first.chat(false).status, 200);
    first.process.stop();
    assert_eq!(
        std::fs::read_to_string(folder.path().join("data/dev-key")).map(|text| text.trim().to_string()).ok(),
        Some(key.clone())
    );
    let second = Dev::start(folder.path());
    assert_eq!(second.key(), key);
    let again = second.chat(false);
    assert_eq!(again.status, 200);
    let used = |stream: &crate::harness::Streaming| {
        let number = |name: &str| stream.header(name).and_then(|value| value.parse::<i64>().ok()).expect("a number");
        number("x-ratelimit-limit") - number("x-ratelimit-remaining")
    };
    assert_eq!(used(&again), 2, "the first start's request still counts");
}

#[test]
fn the_banner_has_a_link_that_signs_in_to_the_dashboard() {
    let folder = folder();
    let dev = Dev::start(folder.path());
    let page = Client::plain(dev.http).ask(&Request::get("/"));
    assert_eq!((page.status, page.header("location")), (303, Some("/sign-in")), "{page}");
    let line = dev.banner.lines().find(|line| line.contains("/sign-in/link#")).expect("a link");
    let (url, link) = line.trim().split_once('#').expect("a secret that browsers keep to themselves");
    assert!(url.ends_with(&format!("http://{}/sign-in/link", dev.http)), "{url}");
    let session = Client::plain(dev.http).ask(
        &Request::post("/api/login/link", json!({ "link": link }).to_string()).instead("Host", &dev.http.to_string()),
    );
    assert_eq!(session.status, 200, "{session}");
    assert_eq!(session.json()["me"]["role"], "operator", "whoever runs it operates it");
}

#[test]
fn commands_beside_it_work_on_the_database_that_it_works_on() {
    let folder = folder();
    let dev = Dev::start(folder.path());
    let command = |arguments: &[&str]| {
        let mut command = cfx();
        command.env_remove("KEY_HASH_PEPPER").current_dir(folder.path()).args(arguments);
        printed(&command.output().expect("cfx runs"))
    };
    // Whoever takes itself for the last user of a database finishes its log, and takes that away as it leaves.
    let beside = rusqlite::Connection::open(folder.path().join("data/cfx.db")).expect("a database");
    let users: i64 = beside.query_row("select count(*) from accounts", (), |row| row.get(0)).expect("a number");
    beside.close().expect("it closes");
    assert_eq!(users, 1);
    assert!(folder.path().join("data/cfx.db-wal").exists(), "somebody works on it");
    command(&["key", "revoke", &dev.key()[..21]]);
    let begun = Instant::now();
    while dev.chat(false).status != 401 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the key is still good");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn help_is_for_strangers() {
    for arguments in [
        &["--help"][..],
        &["help"],
        &["dev", "--help"],
        &["run", "--help"],
        &["key", "--help"],
        &["key", "create", "--help"],
    ] {
        let output = cfx().args(arguments).output().expect("cfx starts");
        let text = printed(&output);
        assert!(output.status.success() && text.contains("Usage:"), "{arguments:?}: {text}");
    }
    let text = printed(&cfx().args(["run", "--help"]).output().expect("cfx starts"));
    for flag in ["--conf", "--data", "--http", "--https", "--admin", "--upstream", "CFX_DATA"] {
        assert!(text.contains(flag), "{flag} is not in: {text}");
    }
}

#[test]
fn exit_codes_say_whose_fault_it_was() {
    let folder = folder();
    let code = |command: &mut Command| command.current_dir(folder.path()).output().expect("cfx starts").status.code();
    assert_eq!(code(cfx().arg("--version")), Some(0));
    assert_eq!(code(cfx().arg("fly")), Some(64));
    assert_eq!(code(cfx().args(["run", "--http", "nonsense"])), Some(64));
    assert_eq!(code(cfx().args(["key", "create"])), Some(64), "whose key?");
    std::fs::create_dir_all(folder.path().join("conf")).expect("a folder");
    std::fs::write(folder.path().join("conf/cfx.yaml"), "entrypoint: {}\n").expect("a file");
    assert_eq!(code(cfx().args(["check", "--conf", "conf"])), Some(78));
    assert_eq!(code(cfx().args(["run", "--conf", "conf"])), Some(78));
}

#[test]
fn a_user_is_made_in_no_database_that_nobody_named() {
    let folder = folder();
    let user = |arguments: &[&str]| {
        let mut command = cfx();
        command.env_remove("CFX_DATA").env_remove("CFX_PUBLIC_URL");
        command.current_dir(folder.path()).args(["user", "create", "ada@example.org"]);
        command.args(arguments).output().expect("cfx starts")
    };
    let lost = user(&[]);
    assert_eq!(lost.status.code(), Some(1));
    assert!(
        printed(&lost).contains("there is no database at data/cfx.db: name the right folder"),
        "{}",
        printed(&lost)
    );
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing was made");
    let named = printed(&user(&["--data", "there"]));
    assert!(named.contains("there/cfx.db is a new database"), "{named}");
    assert!(named.contains("created user ada@example.org in there/cfx.db"), "{named}");
    assert!(named.contains("--url or CFX_PUBLIC_URL"), "who knows where the dashboard is: {named}");
    let told = printed(&user(&["--data", "elsewhere", "--url", "https://app.example.org"]));
    assert!(told.contains(" https://app.example.org/sign-in/link#") && !told.contains("--url"), "{told}");
    let again = printed(&user(&["--data", "there"]));
    assert!(again.contains("there is a user") && !again.contains("new database"), "{again}");
}

#[test]
fn run_refuses_to_start_without_a_pepper() {
    let edge = Harness::start();
    let mut command = cfx();
    command.env_remove("KEY_HASH_PEPPER").arg("run").arg("--conf").arg(edge.conf()).arg("--data").arg(edge.data());
    let output = command.output().expect("cfx starts");
    assert!(!output.status.success());
    assert!(printed(&output).contains("KEY_HASH_PEPPER"), "{}", printed(&output));
}

#[test]
fn run_refuses_a_pepper_that_is_empty_or_not_the_one_of_the_keys() {
    let mut edge = Harness::start();
    edge.process.stop();
    let run = |pepper: &str| {
        let mut command = cfx();
        command.env("KEY_HASH_PEPPER", pepper).arg("run").arg("--conf").arg(edge.conf()).arg("--data").arg(edge.data());
        let output = command.output().expect("cfx starts");
        assert_eq!(output.status.code(), Some(78), "{}", printed(&output));
        printed(&output)
    };
    let text = run("");
    assert!(text.contains("KEY_HASH_PEPPER is empty") && text.contains("openssl rand -hex 32"), "{text}");
    let text = run("quite another pepper, as long as it should be");
    assert!(text.contains("KEY_HASH_PEPPER") && text.contains("set it to the value it had"), "{text}");
}

/// What `cfx run` would refuse it for is told; a mistake it is only where there is a pepper, and a bad one.
#[test]
fn a_check_without_the_pepper_says_that_a_start_needs_it() {
    let edge = Harness::start();
    let check = |pepper: Option<&str>, more: &[&str]| {
        let mut command = cfx();
        command.env_remove("KEY_HASH_PEPPER").envs(pepper.map(|pepper| ("KEY_HASH_PEPPER", pepper)));
        let output = command.arg("check").arg("--conf").arg(edge.conf()).args(more).output().expect("cfx starts");
        (output.status.code(), printed(&output))
    };
    let (code, text) = check(None, &[]);
    let warning = "environment: KEY_HASH_PEPPER is not set here, and cfx run does not start without it";
    assert!(code == Some(0) && text.contains(&format!("warning: {warning}")), "{code:?} {text}");
    let (code, text) = check(None, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &json["ok"], &json["warnings"][0]["file"]), (Some(0), &true.into(), &"environment".into()));
    let (code, text) = check(Some("a pepper that is long enough"), &[]);
    assert!(code == Some(0) && !text.contains("KEY_HASH_PEPPER"), "{code:?} {text}");
    for (pepper, wrong) in [("", "KEY_HASH_PEPPER is empty"), ("short", "KEY_HASH_PEPPER holds 5 characters")] {
        let (code, text) = check(Some(pepper), &[]);
        assert!(code == Some(78) && text.contains(&format!("environment: {wrong}")), "{code:?} {text}");
    }
}

#[test]
fn a_mistake_is_named_by_file_line_and_column() {
    let folder = folder();
    std::fs::write(
        folder.path().join("cfx.yaml"),
        "entrypoints:\n  http: { address: \"127.0.0.1:0\" }\nroutes:\n  - { match: { path: / }, upstream: dashbord }\nupstreams:\n  dashboard: { targets: [\"http://127.0.0.1:1\"] }\n",
    )
    .expect("a file");
    let output = cfx().args(["check", "--conf"]).arg(folder.path()).output().expect("cfx starts");
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("cfx.yaml:4:") && text.contains("dashbord") && text.contains("dashboard"), "{text}");
}

#[test]
fn keys_are_shown_once_and_never_again() {
    let edge = Harness::start();
    let key = edge.new_key("grace@example.org", &[]);
    let listed = printed(&cfx().args(["key", "list", "--data"]).arg(edge.data()).output().expect("cfx starts"));
    assert!(listed.contains("grace@example.org"), "{listed}");
    let secret = &key["cfx_live_".len() + 12..];
    assert!(!listed.contains(secret), "{listed}");
}

#[test]
fn a_rotated_key_hands_over_to_a_new_one() {
    let edge = Harness::start();
    let id = &edge.key["cfx_live_".len()..][..12];
    let output = cfx().args(["key", "rotate", id, "--json", "--data"]).arg(edge.data()).output().expect("cfx starts");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let new = made["key"].as_str().unwrap_or_else(|| panic!("no new key: {}", printed(&output)));
    let body = crate::harness::chat_body().to_string();
    assert_eq!(edge.ask(&Request::post(CHAT, body).key(new)).status, 200);
}
