//! What is kept of one CA on disk: the account, and for each domain its certificate, what became of its last order, and
//! an operator's wish for another. All of it is for the owner alone, and is there whole or not at all.
//!
//! ```text
//! acme/acme-v02.api.letsencrypt.org-1a2b3c4d/account.json
//!                                            example.org.pem    key and chain in one file: no halves that differ
//!                                            example.org.json   failures in a row, and when to try again
//!                                            example.org.renew  try now
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use crate::config::{Certificate, CertificateProblem, Issuer};
use crate::entry::whole_file::write_whole;
use crate::units::Timestamp;

const ACCOUNT: &str = "account.json";

/// The folder of one CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// What became of the last order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// In a row.
    pub failures: u32,
    /// No order before this, RFC 3339.
    #[serde(default)]
    not_before: Option<String>,
    /// What the last failure was, in words.
    #[serde(default)]
    pub problem: Option<String>,
}

/// Why something could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FolderProblem {
    path: PathBuf,
    source: io::Error,
}

impl Folder {
    /// Within the data folder. CAs at one host differ in the number behind it; one that binds accounts of its own to
    /// ours has a folder for each.
    pub fn of(data: &Path, issuer: &Issuer) -> Self {
        let host = issuer.directory.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_owned));
        let account = issuer.external_account.as_ref().map_or("", |account| account.key_id.as_str());
        let number = crc32fast::hash([issuer.directory.as_str(), account].join("\n").as_bytes());
        Self(data.join("acme").join(format!("{}-{number:08x}", host.as_deref().unwrap_or("ca"))))
    }

    /// Does this on a thread that may block.
    pub async fn apart<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Self) -> Result<T, FolderProblem> + Send + 'static,
    ) -> Result<T, FolderProblem> {
        let folder = self.clone();
        let done = tokio::task::spawn_blocking(move || act(&folder)).await;
        done.unwrap_or_else(|error| Err(problem(&self.0)(io::Error::other(error))))
    }

    pub fn account(&self) -> Result<Option<AccountCredentials>, FolderProblem> {
        let path = self.0.join(ACCOUNT);
        let Some(text) = self.text(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|why| problem(&path)(io::Error::other(why)))
    }

    pub fn keep_account(&self, account: &AccountCredentials) -> Result<(), FolderProblem> {
        let path = self.0.join(ACCOUNT);
        let text = serde_json::to_string_pretty(account).map_err(|why| problem(&path)(io::Error::other(why)))?;
        self.write(&path, &text)
    }

    /// Puts the account out of the way: the CA does not know it any more.
    pub fn forget_account(&self) -> Result<(), FolderProblem> {
        let path = self.0.join(ACCOUNT);
        fs::rename(&path, path.with_extension("unknown.json")).map_err(problem(&path))
    }

    /// Where the certificate of a domain is kept.
    pub fn certificate_file(&self, domain: &str) -> PathBuf {
        self.0.join(format!("{domain}.pem"))
    }

    /// The certificate of a domain, expired or not. None where there is none yet.
    pub fn certificate(&self, domain: &str) -> Result<Option<Certificate>, CertificateProblem> {
        let file = self.certificate_file(domain);
        match fs::read(&file) {
            Ok(pem) => Certificate::of_pem(&file, &pem).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CertificateProblem::Unreadable { file, source }),
        }
    }

    /// What another CA has issued for a domain before this one was to: the one that lives longest, where any is alive. A
    /// folder that cannot be read holds none.
    pub fn of_another_ca(&self, domain: &str, now: Timestamp) -> Option<Certificate> {
        let folders = fs::read_dir(self.0.parent()?).ok()?.flatten().map(|folder| Self(folder.path()));
        let others = folders.filter(|folder| folder.0 != self.0);
        let issued = others.filter_map(|folder| folder.certificate(domain).ok().flatten());
        issued.filter(|issued| issued.covers(domain) && now < issued.expires).max_by_key(|issued| issued.expires.0)
    }

    pub fn keep_certificate(&self, domain: &str, pem: &str) -> Result<(), FolderProblem> {
        self.write(&self.certificate_file(domain), pem)
    }

    /// What is not there is nothing that happened.
    pub fn history(&self, domain: &str) -> Result<History, FolderProblem> {
        let path = self.0.join(format!("{domain}.json"));
        let Some(text) = self.text(&path)? else { return Ok(History::default()) };
        serde_json::from_str(&text).map_err(|why| problem(&path)(io::Error::other(why)))
    }

    pub fn keep_history(&self, domain: &str, history: &History) -> Result<(), FolderProblem> {
        let path = self.0.join(format!("{domain}.json"));
        let text = serde_json::to_string_pretty(history).map_err(|why| problem(&path)(io::Error::other(why)))?;
        self.write(&path, &text)
    }

    /// Asks whoever serves this data folder to order a certificate now, whatever the plan says.
    pub fn ask_for(&self, domain: &str) -> Result<(), FolderProblem> {
        self.write(&self.0.join(format!("{domain}.renew")), "")
    }

    /// Whether that was asked for, once.
    pub fn was_asked_for(&self, domain: &str) -> bool {
        fs::remove_file(self.0.join(format!("{domain}.renew"))).is_ok()
    }

    fn text(&self, path: &Path) -> Result<Option<String>, FolderProblem> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(problem(path)(error)),
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), FolderProblem> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(problem(&self.0))?;
        write_whole(path, text, 0o600).map_err(problem(path))
    }
}

impl History {
    pub fn new(failures: u32, not_before: Timestamp, problem: Option<String>) -> Self {
        Self { failures, not_before: Some(not_before.rfc3339()), problem }
    }

    /// No order before this.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before.as_deref().and_then(Timestamp::parse)
    }
}

fn problem(path: &Path) -> impl FnOnce(io::Error) -> FolderProblem + use<> {
    let path = path.to_owned();
    |source| FolderProblem { path, source }
}
