//! One CA and our account with it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{Account, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;

use super::folder::Folder;
use super::http::Http;
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
        let http = Http::trusting(self.issuer.trust.as_deref())?;
        let builder = Account::builder_with_http(Box::new(http));
        let account = match self.folder.account()? {
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
                self.folder.keep_account(&made)?;
                tracing::info!(ca = self.issuer.directory, account = account.id(), "an account was made");
                account
            }
        };
        Ok(at_hand.insert(account).clone())
    }

    /// The CA does not know the account: the next order makes another.
    pub async fn forget_account(&self) -> Result<(), OrderProblem> {
        *self.account.lock().await = None;
        Ok(self.folder.forget_account()?)
    }
}
