//! Handing the listening sockets to another process, over a socket in the data folder.
//!
//! Owns: what the two say to each other. The old process ([`giver`]) hands out copies and goes on serving; only when the
//! new one ([`taker`]) says that it accepts does the old one close its own. Whatever becomes of the new one before that
//! word, nothing has changed for anybody. A connection that waits in a socket's queue stays there: it is one queue.
//!
//! ```text
//! old → new   cfx-handover/1 <process id> <sockets>\n    with the sockets themselves (SCM_RIGHTS)
//! new → old   serving\n                                  or failed <why>\n, or nothing
//! old → new   withdrawn\n                                where another has its turn before that word has come
//! ```

pub mod giver;
pub mod taker;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

/// The first word, with the version of what follows.
const GREETING: &str = "cfx-handover/1";
const SERVING: &str = "serving";
const FAILED: &str = "failed";
const WITHDRAWN: &str = "withdrawn";

/// The most that one message can carry (SCM_MAX_FD of Linux).
const MOST_SOCKETS: usize = 253;

/// Where the process that serves `data` can be asked.
fn place(data: &Path) -> PathBuf {
    data.join("handover.sock")
}
