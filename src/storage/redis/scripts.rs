//! The Lua scripts: what each is called, and the digest it is run by. Each runs atomically and touches one slot.

use std::sync::LazyLock;

use redis::{Cmd, Script as Digested};

/// One script, to be named by its digest.
pub(super) struct Script {
    source: &'static str,
    digest: LazyLock<String>,
}

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)+) => {
        $(pub(super) static $name: Script = {
            const SOURCE: &str = concat!($(include_str!($file)),+);
            Script { source: SOURCE, digest: LazyLock::new(|| Digested::new(SOURCE).get_hash().to_owned()) }
        };)+
        pub(super) const ALL: &[&Script] = &[$(&$name),+];
    };
}

scripts! {
    GRANT = "day.lua" "grant.lua";
    SETTLE = "day.lua" "settle.lua";
    POST = "day.lua" "post.lua";
    OPEN = "day.lua" "open.lua";
    SEED = "day.lua" "seed.lua";
    EPOCH = "epoch.lua";
    BEAT = "beat.lua";
    ENTER = "enter.lua";
    RENEW = "renew.lua";
}

impl Script {
    /// Its run over `keys`; the arguments follow.
    pub(super) fn over(&self, keys: &[&str]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&*self.digest).arg(keys.len()).arg(keys);
        command
    }

    /// Makes it known to a server.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.source);
        command
    }
}
