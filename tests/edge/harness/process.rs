//! The binary as a process: started, watched line by line, stopped as an operator would, killed at the latest on drop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::client::PATIENCE;
use super::{PEPPER, UPSTREAM_KEY};

/// The store of every command, where it is not the embedded one.
pub static DATABASE_URL: OnceLock<String> = OnceLock::new();

pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    lines: Mutex<Receiver<String>>,
}

/// The binary with nothing in its environment but what every installation sets.
pub fn cfx() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cfx"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("KEY_HASH_PEPPER", PEPPER).env("LITELLM_API_KEY", UPSTREAM_KEY);
    command.envs(DATABASE_URL.get().map(|url| ("DATABASE_URL", url)));
    command
}

/// The same with what the installation of `data` sets beside that: lines of NAME=VALUE in a file next to the folder.
pub fn cfx_of(data: &Path) -> Command {
    let mut command = cfx();
    let lines = std::fs::read_to_string(data.with_file_name("environment")).unwrap_or_default();
    command.envs(lines.lines().filter_map(|line| line.split_once('=')));
    command
}

/// `cfx run` on the installation of `data`.
pub fn run_of(conf: &Path, data: &Path) -> Command {
    let mut command = cfx_of(data);
    command.arg("run").arg("--conf").arg(conf).arg("--data").arg(data);
    command
}

/// Makes an empty store.
pub fn make_store(data: &Path) {
    let output = cfx_of(data).args(["migrate", "--data"]).arg(data).output().expect("cfx starts");
    assert!(output.status.success(), "`cfx migrate`: {}", printed(&output));
}

/// A new key's raw text.
pub fn create_key(data: &Path, user: &str, arguments: &[&str]) -> String {
    // Fails where the user is there already, which is as good.
    cfx_of(data).args(["user", "create", user, "--data"]).arg(data).output().expect("cfx starts");
    let mut command = cfx_of(data);
    command.args(["key", "create", "--user", user, "--label", "test", "--json", "--data"]).arg(data).args(arguments);
    let output = command.output().expect("cfx starts");
    let text = printed(&output);
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    made["key"].as_str().unwrap_or_else(|| panic!("`cfx key create` made no key: {text}")).to_string()
}

/// Revokes a key by the public part of its text.
pub fn revoke_key(data: &Path, key: &str) {
    let id = key.strip_prefix("cfx_live_").and_then(|rest| rest.get(..12)).expect("a key of ours");
    let output = cfx_of(data).args(["key", "revoke", id, "--data"]).arg(data).output().expect("cfx starts");
    assert!(output.status.success(), "`cfx key revoke {id}`: {}", printed(&output));
}

/// Everything a finished command printed.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asked with nothing but a socket: a process that dies while it is asked closes it, and that is no answer.
fn says_ready(admin: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /-/ready HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

impl Process {
    /// `cfx run`, ready. What it printed, where it did not become so.
    pub fn run(conf: &Path, data: &Path, admin: SocketAddr) -> Result<Self, String> {
        Self::run_with(conf, data, admin, &[])
    }

    /// The same with more in its environment.
    pub fn run_with(conf: &Path, data: &Path, admin: SocketAddr, set: &[(&str, &str)]) -> Result<Self, String> {
        let mut command = run_of(conf, data);
        command.envs(set.iter().copied());
        Self::ready(command, admin)
    }

    /// `cfx run --take-over`, ready: it has told the process before it to leave, or is about to.
    pub fn take_over(conf: &Path, data: &Path, admin: SocketAddr) -> Result<Self, String> {
        let mut command = run_of(conf, data);
        command.arg("--take-over");
        Self::ready(command, admin)
    }

    fn ready(command: Command, admin: SocketAddr) -> Result<Self, String> {
        let mut process = Self::spawn(command);
        process.wait_for_line("ready")?;
        process.wait_until_ready(admin)?;
        Ok(process)
    }

    /// Any command that goes on.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("cfx starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|pipe| Box::new(pipe) as _), child.stderr.take().map(|pipe| Box::new(pipe) as _)];
        for output in outputs.into_iter().flatten() {
            let (sender, log) = (sender.clone(), log.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Ok(mut log) = log.lock() {
                        *log += &line;
                        *log += "\n";
                    }
                    let _ = sender.send(line);
                }
            });
        }
        Self { child, log, lines: Mutex::new(lines) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far, both outputs together.
    pub fn log(&self) -> String {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// Waits for a line that contains `text`, and hands it back. What was printed, where the process ends before.
    pub fn wait_for_line(&self, text: &str) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        let lines = self.lines.lock().expect("one reader");
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.log()),
                Err(RecvTimeoutError::Timeout) => return Err(format!("no line with {text:?}:\n{}", self.log())),
            }
        }
    }

    /// `/-/ready` on the admin listener. It follows the line by moments; there is no other sign to wait for.
    fn wait_until_ready(&mut self, admin: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if says_ready(admin).unwrap_or(false) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended before it was ready, {status}:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("/-/ready is not 200:\n{}", self.log()))
    }

    /// Sends a signal by its name: `TERM`, `INT`, `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "the process takes signals");
    }

    /// Has it stand still, all threads of it, until it gets the signal CONT.
    pub fn halt(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.id());
        let stands = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_dir(&tasks).expect("a process").flatten().all(stands) {
            assert!(Instant::now() < deadline, "it does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops as an operator does, and waits until everything is written.
    pub fn stop(&mut self) -> ExitStatus {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status;
        }
        self.signal("TERM");
        self.wait_for_exit()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a child of ours");
    }

    /// Waits for the end of a process that was told to stop.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        // Both outputs close when the process ends: that is the sign to wait for.
        let lines = self.lines.get_mut().expect("one reader");
        while lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        match self.child.try_wait() {
            Ok(Some(status)) => status,
            _ if Instant::now() < deadline => self.child.wait().expect("a child of ours"),
            _ => panic!("cfx did not stop:\n{}", self.log()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(4_000);
            eprintln!("--- the last cfx printed:\n{}", log.get(from..).unwrap_or(&log));
        }
    }
}
