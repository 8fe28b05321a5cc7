//! One CA and our account with it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{Account, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;

use super::folder::Folder;
use super::http::{Http, HttpProblem};
use super::problem::OrderProblem;
use crate::config::Issuer;

/// A CA, its folder, and the account once it was needed.
pub struct Authority {
    pub issuer: Issuer,
    pub folder: Folder,
    account: Mutex<Option<Account>>,
}

impl Authority {
    pub fn new(issuer: Issuer, folder: Folder) -> Self {
        Self { issuer, folder, account: Mutex::new(None) }
    }

    /// The account: the one at hand, the one on disk, or a new one, which is on disk before anything is ordered by it.
    pub async fn account(&self) -> Result<Account, OrderProblem> {
        let mut at_hand = self.account.lock().await;
        if let Some(account) = &*at_hand {
            return Ok(account.clone());
        }
        let trust = self.issuer.trust.clone();
        let http = tokio::task::spawn_blocking(move || Http::trusting(trust.as_deref())).await;
        let http = http.map_err(HttpProblem::from)??;
        let builder = Account::builder_with_http(Box::new(http));
        let account = match self.folder.apart(Folder::account).await? {
            Some(kept) => builder.from_credentials(kept).await?,
            None => {
                let contact = self.issuer.email.as_ref().map(|email| format!("mailto:{email}"));
                let contact: Vec<&str> = contact.as_deref().into_iter().collect();
                let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
                let bound = self.issuer.external_account.as_ref().map(|account| {
                    // Checked with the configuration.
                    let key = URL_SAFE_NO_PAD.decode(account.hmac_key.expose()).unwrap_or_default();
                    ExternalAccountKey::new(account.key_id.clone(), &key)
                });
                let (account, made) = builder.create(&new, self.issuer.directory.clone(), bound.as_ref()).await?;
                self.folder.apart(move |folder| folder.keep_account(&made)).await?;
                tracing::info!(ca = self.issuer.directory, account = account.id(), "an account was made");
                account
            }
        };
        Ok(at_hand.insert(account).clone())
    }

    /// The CA does not know this account: the next order makes another. Several orders may hear so of the same one; the
    /// one that was made since is kept.
    pub async fn forget(&self, unknown: &Account) -> Result<(), OrderProblem> {
        let mut at_hand = self.account.lock().await;
        if at_hand.as_ref().is_some_and(|account| account.id() == unknown.id()) {
            *at_hand = None;
            self.folder.apart(Folder::forget_account).await?;
        }
        Ok(())
    }
}
