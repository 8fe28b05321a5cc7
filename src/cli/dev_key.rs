//! The user and the key that `cfx dev` makes for itself, so that its curl line works at once.

use std::path::{Path, PathBuf};

use crate::admission::{NewKey, Pepper, RawKey, StoredKey};
use crate::app::stores::Stores;
use crate::cli::{Failure, pepper};
use crate::clock::Clock;
use crate::identity::{Account, Change, Email, Role};
use crate::units::UserId;

const EMAIL: &str = "dev@localhost";
const FILE: &str = "dev-key";

/// The key of `cfx dev`.
#[derive(Debug)]
pub struct DevKey {
    pub key: RawKey,
    /// Whose it is.
    pub owner: UserId,
    /// Where it is kept, readable by its owner alone.
    pub file: PathBuf,
    /// Whether it was made just now, and is to be shown.
    pub new: bool,
}

/// Reads the key of earlier starts from `data/dev-key`, or makes one on the first, with its user. Made anew where the
/// store no longer accepts the old one: the database was removed, the pepper changed, the key revoked or expired.
pub async fn ensure_dev_key(store: &Stores, pepper: &[u8], data: &Path, clock: &dyn Clock) -> Result<DevKey, Failure> {
    let pepper = Pepper::new(pepper);
    let file = data.join(FILE);
    if let Some(key) = read(&file)
        && let Some(owner) = owner(store, &key, &pepper, clock).await?
    {
        dev_account(store, clock).await?;
        return Ok(DevKey { key, owner, file, new: false });
    }
    let key = RawKey::mint().map_err(|error| Failure::Failed(format!("no randomness for a key: {error}")))?;
    let account = dev_account(store, clock).await?;
    store.registry.create(NewKey::of(&key, &pepper, account.id, "cfx dev", clock.now()), None).await?;
    pepper::write_private(&file, key.expose())?;
    Ok(DevKey { key, owner: account.id, file, new: true })
}

fn read(file: &Path) -> Option<RawKey> {
    RawKey::parse(std::fs::read_to_string(file).ok()?.trim()).ok()
}

/// Whom the store lets in with `key`, if anyone.
async fn owner(store: &Stores, key: &RawKey, pepper: &Pepper, clock: &dyn Clock) -> Result<Option<UserId>, Failure> {
    let stored = store.keys.find(key.public_id().as_str()).await?;
    let opens = |stored: &StoredKey| {
        stored.active && stored.hash == pepper.hash(key) && !stored.principal.expired_at(clock.now())
    };
    Ok(stored.filter(opens).map(|stored| stored.principal.user))
}

/// Whoever runs it on their own machine operates it.
async fn dev_account(store: &Stores, clock: &dyn Clock) -> Result<Account, Failure> {
    let email = Email::parse(EMAIL).map_err(|error| Failure::Failed(error.to_string()))?;
    if let Some(account) = store.accounts.find(&email).await? {
        if account.role != Role::Operator {
            let change = Change { role: Some(Role::Operator), ..Change::default() };
            store.accounts.change(account.id, change).await?;
        }
        return Ok(account);
    }
    let account = Account { role: Role::Operator, ..Account::new(email, clock.now()) };
    store.accounts.create(account.clone(), None).await?;
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::stores::StoreChoice;
    use crate::clock::SystemClock;

    const PEPPER: &[u8] = b"a pepper for tests";

    #[tokio::test]
    async fn the_key_of_the_first_start_is_kept_until_it_no_longer_opens() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        let store = StoreChoice::Embedded(data.join("cfx.db")).open().await.unwrap();
        let first = ensure_dev_key(&store, PEPPER, data, &SystemClock).await.unwrap();
        assert!(first.new);
        let second = ensure_dev_key(&store, PEPPER, data, &SystemClock).await.unwrap();
        assert!(!second.new && second.key == first.key && second.owner == first.owner);
        assert_eq!(std::fs::read_to_string(data.join("dev-key")).unwrap().trim(), first.key.expose());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&first.file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let other_pepper = ensure_dev_key(&store, b"another pepper for it", data, &SystemClock).await.unwrap();
        assert!(other_pepper.new && other_pepper.key != first.key);
        let found = store.keys.find(other_pepper.key.public_id().as_str()).await.unwrap().unwrap();
        assert_eq!(&*found.principal.email, "dev@localhost");
        assert_eq!(store.accounts.list().await.unwrap().len(), 1);
        store.registry.revoke(found.principal.key, SystemClock.now()).await.unwrap();
        assert!(ensure_dev_key(&store, b"another pepper for it", data, &SystemClock).await.unwrap().new);
    }
}
