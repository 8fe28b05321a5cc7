//! Scripts, styles and the icon: in the binary, named by what is in them, so that a browser keeps them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::pages::failure;
use super::visitor::Visitor;

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app", "css", CSS, include_str!("assets/app.css")));
pub(super) static APP: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app", "js", SCRIPT, include_str!("assets/app.js")));
pub(super) static CHART: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("chart", "js", SCRIPT, include_str!("assets/chart.js")));
pub(super) static TAIL: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("tail", "js", SCRIPT, include_str!("assets/tail.js")));
pub(super) static PLAYGROUND: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("playground", "js", SCRIPT, include_str!("assets/playground.js")));
pub(super) static UPLOT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("uplot", "js", SCRIPT, include_str!("assets/uplot.js")));
pub(super) static UPLOT_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("uplot", "css", CSS, include_str!("assets/uplot.css")));
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", SVG, include_str!("assets/icon.svg")));

static ALL: [&LazyLock<Asset>; 8] = [&STYLE, &APP, &CHART, &TAIL, &PLAYGROUND, &UPLOT, &UPLOT_STYLE, &ICON];

/// One file, under a name that changes with it.
pub(super) struct Asset {
    /// `/assets/app.0123456789abcdef.css`.
    pub path: String,
    etag: String,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, text: &'static str) -> Self {
        let hash: String = Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { path: format!("/assets/{stem}.{hash}.{extension}"), etag: format!("\"{hash}\""), kind, text }
    }
}

pub(super) async fn serve(
    axum::Extension(visitor): axum::Extension<Visitor>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let wanted = format!("/assets/{name}");
    let Some(asset) = ALL.iter().find(|asset| asset.path == wanted) else {
        return failure::page(&visitor, None, StatusCode::NOT_FOUND, failure::Failure::NotFound);
    };
    let Ok(etag) = HeaderValue::from_str(&asset.etag) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let kept = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let named = [
        (CACHE_CONTROL, HeaderValue::from_static("max-age=31536000, immutable")),
        (ETAG, etag),
        (CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
    ];
    if kept.is_some_and(|kept| kept.split(',').any(|kept| kept.trim().trim_start_matches("W/") == asset.etag)) {
        return (StatusCode::NOT_MODIFIED, named).into_response();
    }
    (named, asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn together_they_stay_below_150_kilobytes() {
        let size: usize = ALL.iter().map(|asset| asset.text.len()).sum();
        assert!(size < 150_000, "{size} bytes");
    }

    #[test]
    fn the_chart_library_keeps_its_licence() {
        assert!(UPLOT.text.contains("https://github.com/leeoniya/uPlot"));
        assert!(include_str!("assets/LICENSE.uplot").contains("MIT"));
    }
}
