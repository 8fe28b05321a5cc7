//! The dashboard with doubles behind it, to be looked at: `cargo run --example dashboard -- 8099 [plausible|nothing|hostile]`.
//! Prints where it is and the cookie that is signed in; the password of any e-mail is `correct horse battery`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "run by hand, and shares the doubles of the tests")]

#[path = "../tests/dashboard/doubles/mod.rs"]
mod doubles;

use std::sync::Arc;

use doubles::{Api, Setting, Told, start};

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let port = words.next().and_then(|port| port.parse().ok()).unwrap_or(8099);
    let told = match words.next().as_deref() {
        Some("nothing") => Told::Nothing,
        Some("hostile") => Told::Hostile,
        Some("fails") => Told::Fails,
        Some("too-much") => Told::TooMuch,
        Some("over") => Told::Over,
        _ => Told::Plausible,
    };
    let api = Arc::new(Api::new("operator", told == Told::Hostile, 12));
    let stand = start(Setting { told, port, api, ..Setting::default() }).await;
    println!("http://{} cfx_session={}", stand.address, stand.api.token.expose());
    std::future::pending::<()>().await;
}
