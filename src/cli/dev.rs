//! `cfx dev`: the whole of it on one machine, with nothing to prepare.
//!
//! Uses what the environment offers (LITELLM_BASE_URL, DATABASE_URL, REDIS_URL, KEY_HASH_PEPPER); makes the rest itself and keeps
//! it in the data directory: pepper, certificate, user and key. Without LITELLM_BASE_URL an echo model answers, and says so.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::banner::{self, Banner, Key};
use super::serve::{self, Flags, Manner};
use super::store::wait;
use super::{Failure, dev_key, echo, pepper, user};
use crate::app::reload::{Origin, Triggers};
use crate::app::stores::StoreChoice;
use crate::app::{self, Succession, inside};
use crate::clock::{Clock, SystemClock};
use crate::config::{CertificateFiles, Overrides, Source};
use crate::entry::self_signed;
use crate::entry::sockets::Sockets;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const HTTPS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
/// Whoever stops a program on their own machine does not want to wait for its streams.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let Flags { conf, data, http, https, admin, upstream, no_watch, store_wait, public_url, dashboard_pages } =
        args.flags;
    let (http, https, admin) = (http.unwrap_or(HTTP), https.unwrap_or(HTTPS), admin.unwrap_or(ADMIN));
    let (store, folder) = (data.store()?, data.folder().to_owned());
    let alone = Sockets::default();
    let ports = [(admin, "admin"), (http, "entrypoint http"), (https, "entrypoint https")];
    serve::precheck(|| ports.into_iter().try_for_each(|(address, what)| app::check_port(address, what, &alone)))?;
    serve::make_data(&folder)?;
    let pepper = pepper::for_dev(&folder)?;
    let certificate = certificate(&folder)?;
    let named = upstream.or_else(|| std::env::var("LITELLM_BASE_URL").ok().filter(|url| !url.is_empty()));
    let echo = if named.is_none() { Some(EchoThread::start()?) } else { None };
    let overrides = Overrides {
        http: Some(http),
        https: Some(https),
        admin: Some(admin),
        upstream_url: named.or_else(|| echo.as_ref().map(|echo| echo.url.clone())),
        redirect: Some(false),
        dashboard: true,
        most_grace: Some(GRACE),
        self_signed: Some(certificate),
    };
    let source = conf.map_or(Source::Embedded, Source::Directory);
    let origin = Origin::new(source, overrides, Triggers { hangup: false, change: !no_watch });
    let snapshot = serve::load(&origin.source, &origin.overrides)?;
    // The edge opens the store once more for itself.
    let dev_key = wait(async {
        let opened = store.open().await?;
        pepper::checked_against(&*opened.pepper, &pepper).await?;
        let key = dev_key::ensure_dev_key(&opened, pepper.expose().as_bytes(), &folder, &SystemClock).await?;
        let link = user::link_into(&opened, key.owner, SystemClock.now()).await?;
        Ok((key, link))
    })?;
    let (dev_key, link) = dev_key;
    let text = banner::banner(&Banner {
        version: env!("CARGO_PKG_VERSION"),
        http: Some(http),
        https: Some(https),
        admin,
        api_base: &format!("http://{http}/v1"),
        page: Some(&format!("{}/sign-in/link#{}", page(http, https), link.expose())),
        key: Some(Key { text: dev_key.key.expose(), is_new: dev_key.new, file: Some(&dev_key.file) }),
        model: "cfx-plan",
        echo: echo.is_some(),
        upstream: origin.overrides.upstream_url.as_deref(),
        store: Some(&store_row(&store)),
        data_dir: Some(&folder),
        colour: std::io::stdout().is_terminal(),
    });
    let pages = inside::Settings { public_url, pages: dashboard_pages };
    let manner = Manner { origin, succession: Succession::default(), pages };
    serve::serve(snapshot, store, store_wait, folder, pepper, manner, Box::new(move || show(&text)))
}

/// What keeps the accounts, and where; never with a password.
fn store_row(store: &StoreChoice) -> String {
    let kind = match store {
        StoreChoice::Embedded(_) => "SQLite, in",
        StoreChoice::Postgres(_) => "Postgres,",
    };
    format!("{kind} {}", store.place())
}

/// Where a browser on this machine signs in: in plain http by a loopback address alone, else over https.
fn page(http: SocketAddr, https: SocketAddr) -> String {
    let here = |address: SocketAddr| match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        _ => address,
    };
    match here(http) {
        http if http.ip().is_loopback() => format!("http://{http}"),
        _ => format!("https://{}", here(https)),
    }
}

fn show(text: &str) {
    say!("{text}");
}

fn certificate(data: &Path) -> Result<CertificateFiles, Failure> {
    self_signed::ensure(&data.join("certs"), &["localhost", "127.0.0.1", "::1"], SystemClock.now())
        .map_err(|problem| Failure::Failed(format!("cannot make a certificate: {problem}")))
}

/// The echo model on a thread and a runtime of its own, so that it stands in for a real upstream in every respect.
struct EchoThread {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl EchoThread {
    fn start() -> Result<Self, Failure> {
        let failed = |error| Failure::Failed(format!("cannot start the echo model: {error}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("cfx-echo")
            .enable_all()
            .build()
            .map_err(failed)?;
        let echo = runtime.block_on(echo::start()).map_err(failed)?;
        Ok(Self { url: echo.url, _runtime: runtime })
    }
}
