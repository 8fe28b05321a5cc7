//! `cfx run`: production. Refuses to start without a pepper, a store and a valid configuration.

use clap::builder::FalseyValueParser;

use super::serve::{self, Flags, Manner};
use super::{Failure, pepper};
use crate::app::reload::{Origin, Triggers};
use crate::app::{self, Succession, inside};
use crate::config::{Overrides, Source};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Take the listening sockets over from the cfx that serves the same data folder; it leaves once this one serves
    #[arg(long)]
    take_over: bool,
    /// Serve the dashboard too, at the route that catches everything else
    #[arg(long, env = "CFX_DASHBOARD", value_parser = FalseyValueParser::new())]
    dashboard: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let Flags { conf, data, http, https, admin, upstream, no_watch, store_wait, public_url, dashboard_pages } =
        args.flags;
    let overrides =
        Overrides { http, https, admin, upstream_url: upstream, dashboard: args.dashboard, ..Overrides::default() };
    let source = Source::Directory(conf.unwrap_or_else(|| "conf".into()));
    let origin = Origin::new(source, overrides, Triggers { hangup: true, change: !no_watch });
    let snapshot = serve::load(&origin.source, &origin.overrides)?;
    let pepper = pepper::from_environment()?.ok_or_else(|| {
        Failure::Configuration(format!(
            "{} is not set: keys are stored as HMACs under it; `openssl rand -hex 32` makes one, and it must stay the same",
            pepper::VARIABLE
        ))
    })?;
    let store = data.store()?;
    let before = if args.take_over { serve::take_over(data.folder())? } else { Succession::default() };
    let succession = Succession { replaceable: true, ..before };
    serve::precheck(|| app::check_ports(&snapshot.edge, &succession.sockets))?;
    serve::make_data(data.folder())?;
    let listening: Vec<String> =
        snapshot.edge.entrypoints.iter().map(|entrypoint| entrypoint.address.to_string()).collect();
    let (listening, admin) = (listening.join(" "), snapshot.edge.admin.to_string());
    let place = store.place();
    let ready = move || tracing::info!(listening, admin, store = place, "cfx is ready");
    let pages = inside::Settings { public_url, pages: dashboard_pages };
    let manner = Manner { origin, succession, pages };
    serve::serve(snapshot, store, store_wait, data.folder().to_owned(), pepper, manner, Box::new(ready))
}
