//! Files of the configuration that change, in each of the ways in which files do: the edge notices by itself.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::harness::process::run_of;
use crate::harness::{Harness, Process};
use crate::reloading::{RELOADS, SUCCESS, rewrite};

/// Edges notice within moments what they are told of, and within seconds what they are not.
fn assert_noticed(edge: &Harness) {
    edge.assert_metric(RELOADS, &["\"applied\""], 1.0);
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-other");
}

fn with_the_other_model(text: &str) -> String {
    text.replacen("upstream_model: upstream-smart", "upstream_model: upstream-other", 1)
}

#[test]
fn a_file_that_is_replaced_by_another_is_noticed_every_time() {
    let edge = Harness::start();
    rewrite(&edge, "models.yaml", "upstream_model: upstream-smart", "upstream_model: upstream-other");
    assert_noticed(&edge);
    rewrite(&edge, "models.yaml", "upstream_model: upstream-other", "upstream_model: upstream-third");
    edge.assert_metric(RELOADS, &["\"applied\""], 2.0);
    rewrite(&edge, "models.yaml", "upstream_model: upstream-third", "upstream_model: 'upstream-third");
    edge.assert_metric(RELOADS, &["\"refused\""], 1.0);
    edge.assert_metric(SUCCESS, &[], 0.0);
    assert!(
        edge.process.wait_for_line("the configuration is not taken").is_ok_and(|line| line.contains("models.yaml:"))
    );
}

#[test]
fn a_file_that_is_written_in_its_place_is_noticed() {
    let edge = Harness::start();
    let file = edge.conf().join("models.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, with_the_other_model(&text)).expect("a file");
    assert_noticed(&edge);
}

/// A single file mounted into a container is one file with two names: its folder here hears nothing of who writes to
/// the other. A hard link is that without the rights to mount.
#[test]
fn a_file_that_is_written_under_another_name_is_noticed() {
    let mut edge = Harness::start();
    edge.process.stop();
    let (file, name) = (edge.conf().join("models.yaml"), edge.data().join("mounted.yaml"));
    std::fs::hard_link(&file, &name).expect("one more name");
    edge.restart();
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&name, with_the_other_model(&text)).expect("a file");
    assert_noticed(&edge);
}

/// The same as containers have it: a single file of the host, mounted over one of the container's, in a namespace that
/// the edge has to itself.
#[test]
fn a_single_file_that_is_mounted_is_noticed_when_it_is_written() {
    if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: nobody may mount anything here, which takes root or a kernel that lets users");
        return;
    }
    let mut edge = Harness::start();
    edge.process.stop();
    let (file, of_the_host) = (edge.conf().join("models.yaml"), edge.data().join("of-the-host.yaml"));
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&of_the_host, &text).expect("a file");
    std::fs::write(&file, "what lies under the mount").expect("a file");
    let run = run_of(&edge.conf(), &edge.data());
    let mut mounted = Command::new("unshare");
    mounted.args(["-m", "sh", "-c", "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"", "sh"]);
    mounted.args([&of_the_host, &file]).arg(run.get_program()).args(run.get_args());
    mounted.env_clear().envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    edge.process = Process::spawn(mounted);
    edge.process.wait_for_line("ready").expect("it starts on what is mounted");
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-smart");
    std::fs::write(&of_the_host, with_the_other_model(&text)).expect("a file");
    assert_noticed(&edge);
}

/// A folder as Kubernetes mounts a ConfigMap: the files are links through `..data`, which is replaced as a whole.
#[test]
fn a_folder_whose_data_link_is_turned_is_noticed() {
    let mut edge = Harness::start();
    edge.process.stop();
    let conf = edge.conf();
    let version = |name: &str, change: fn(&str) -> String| {
        std::fs::create_dir(conf.join(name)).expect("a folder");
        for file in ["cfx.yaml", "models.yaml", "limits.yaml"] {
            let from = conf.join(if name == "..one" { file.to_owned() } else { format!("..one/{file}") });
            let text = std::fs::read_to_string(from).expect("a file");
            std::fs::write(conf.join(name).join(file), change(&text)).expect("a file");
        }
    };
    let turn = |to: &str| {
        symlink(to, conf.join("..data_tmp")).expect("a link");
        std::fs::rename(conf.join("..data_tmp"), conf.join("..data")).expect("it takes the place");
    };
    version("..one", str::to_owned);
    turn("..one");
    for file in ["cfx.yaml", "models.yaml", "limits.yaml"] {
        std::fs::remove_file(conf.join(file)).expect("a file");
        symlink(format!("..data/{file}"), conf.join(file)).expect("a link");
    }
    edge.restart();
    version("..two", with_the_other_model);
    turn("..two");
    assert_noticed(&edge);
}

/// Nobody tells of a link in the middle of the way that is turned, or of what others do on a network's disk.
#[test]
fn what_nobody_tells_of_is_found_by_looking() {
    let mut edge = Harness::start();
    edge.process.stop();
    let (file, releases) = (edge.conf().join("models.yaml"), edge.data().join("releases"));
    let text = std::fs::read_to_string(&file).expect("a file");
    for (name, text) in [("one", text.clone()), ("two", with_the_other_model(&text))] {
        std::fs::create_dir_all(releases.join(name)).expect("a folder");
        std::fs::write(releases.join(name).join("models.yaml"), text).expect("a file");
    }
    symlink("one", releases.join("current")).expect("a link");
    std::fs::remove_file(&file).expect("a file");
    symlink(releases.join("current/models.yaml"), &file).expect("a link");
    edge.restart();
    symlink("two", releases.join("next")).expect("a link");
    std::fs::rename(releases.join("next"), releases.join("current")).expect("it takes the place");
    assert_noticed(&edge);
}

#[test]
fn files_that_the_configuration_names_are_watched_even_while_they_are_missing() {
    let edge = Harness::start();
    let prompt = edge.conf().join("prompts/plan.md");
    rewrite(
        &edge,
        "models.yaml",
        "system: \"PLAN: say what you would do, write no code.\"",
        "system_file: prompts/plan.md",
    );
    edge.assert_metric(RELOADS, &["\"refused\""], 1.0);
    std::fs::create_dir(edge.conf().join("prompts")).expect("a folder");
    std::fs::write(&prompt, "PLAN: one.").expect("a file");
    edge.assert_metric(RELOADS, &["\"applied\""], 1.0);
    std::fs::write(&prompt, "PLAN: two.").expect("a file");
    edge.assert_metric(RELOADS, &["\"applied\""], 2.0);
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["messages"][0]["content"], "PLAN: two.");
}
