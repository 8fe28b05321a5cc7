//! What is around every page: its head, the way to the others, and who is signed in.

use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets::{self, Asset};
use super::signed::Signed;
use super::texts::Texts;
use super::visitor::{Theme, Visitor};
use crate::control::api::Me;
use crate::identity::made_visible;

/// A page of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    Overview,
    Logs,
    Keys,
    Connect,
    Playground,
    Operator,
    Account,
    /// None of them.
    Elsewhere,
}

/// One page, before its frame.
pub(super) struct Page<'a> {
    pub title: &'a str,
    pub here: Here,
    /// Beside those of every page.
    pub scripts: &'a [&'a Asset],
    pub styles: &'a [&'a Asset],
    pub body: Markup,
}

const PAGES: [(Here, &str, &str); 5] = [
    (Here::Overview, "/", "M3 12l9-8 9 8M6 10v9h12v-9"),
    (Here::Logs, "/logs", "M4 6h16M4 12h16M4 18h10"),
    (Here::Keys, "/keys", "M14.5 9.5a4 4 0 1 0-3.6 4L13 11.4M13 11.4l6 6v2.6h-3v-2h-2v-2l-3-2.6"),
    (Here::Connect, "/connect", "M9 7V3M15 7V3M6 7h12v4a6 6 0 0 1-12 0zM12 17v4"),
    (Here::Playground, "/playground", "M7 5l12 7-12 7z"),
];
const OPERATOR: (Here, &str, &str) = (Here::Operator, "/operator", "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4");

/// The whole document, for whoever is signed in.
pub(super) fn signed(signed: &Signed, page: Page<'_>) -> Response {
    document(&signed.visitor, Some(&signed.me), page).into_response()
}

/// The whole document; with the navigation where somebody is signed in.
pub(super) fn document(visitor: &Visitor, me: Option<&Me>, page: Page<'_>) -> Html<String> {
    let texts = visitor.texts();
    let whole = html! {
        (DOCTYPE)
        html lang=(visitor.language.as_str()) data-theme=(visitor.theme.as_str()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content=(scheme(visitor.theme));
                title { (page.title) " · CF-X" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.path);
                link rel="stylesheet" href=(assets::STYLE.path);
                @for style in page.styles { link rel="stylesheet" href=(style.path); }
                script src=(assets::APP.path) defer {}
                @for script in page.scripts { script src=(script.path) defer {} }
            }
            body data-copied=(texts.copied) data-copy-failed=(texts.copy_failed) data-units=(texts.countdown_units) {
                a.skip href="#main" { (texts.skip) }
                @match me {
                    Some(me) => {
                        (top(visitor, me, page.here))
                        div.shell {
                            header.side {
                                div.stay { div { (brand()) nav aria-label=(texts.navigation) { (links(texts, me, page.here)) } }
                                (foot(visitor, me)) }
                            }
                            main #main tabindex="-1" { (page.body) }
                        }
                    }
                    None => {
                        div.alone {
                            header { (brand()) }
                            main #main tabindex="-1" { (page.body) }
                            footer.preferences { (preferences(visitor)) }
                        }
                    }
                }
            }
        }
    };
    Html(whole.into_string())
}

fn scheme(theme: Theme) -> &'static str {
    match theme {
        Theme::Dark => "dark",
        Theme::Light => "light",
        Theme::Auto => "dark light",
    }
}

fn brand() -> Markup {
    html! {
        a.brand href="/" {
            svg viewBox="0 0 32 32" aria-hidden="true" { path d="M22 10a9 9 0 1 0 0 12" {} path d="M17 16h11M24 12l4 4-4 4" {} }
            span { "CF-X" }
        }
    }
}

/// Where the window is narrow, the navigation is behind one button that works without a script.
fn top(visitor: &Visitor, me: &Me, here: Here) -> Markup {
    let texts = visitor.texts();
    html! {
        header.top {
            (brand())
            details.menu {
                summary { (texts.menu) }
                div.sheet { nav aria-label=(texts.navigation) { (links(texts, me, here)) } (foot(visitor, me)) }
            }
        }
    }
}

fn links(texts: &Texts, me: &Me, here: Here) -> Markup {
    let operator = (me.role == "operator").then_some(&OPERATOR);
    html! {
        ul.links {
            @for (page, path, icon) in PAGES.iter().chain(operator) {
                li {
                    a href=(path) aria-current=[(*page == here).then_some("page")] {
                        svg viewBox="0 0 24 24" aria-hidden="true" { path d=(icon) {} }
                        (name(texts, *page))
                    }
                }
            }
        }
    }
}

fn name(texts: &Texts, page: Here) -> &'static str {
    match page {
        Here::Overview => texts.overview,
        Here::Logs => texts.logs,
        Here::Keys => texts.keys,
        Here::Connect => texts.connect,
        Here::Playground => texts.playground,
        Here::Operator => texts.operator,
        Here::Account | Here::Elsewhere => texts.account,
    }
}

fn foot(visitor: &Visitor, me: &Me) -> Markup {
    let texts = visitor.texts();
    html! {
        div.foot {
            (preferences(visitor))
            a.who href="/account" title=(made_visible(&me.email)) { bdi { (made_visible(&me.email)) } span.hint { (texts.account) } }
            form method="post" action="/sign-out" {
                input type="hidden" name="csrf" value=(me.csrf);
                button.quiet type="submit" { (texts.sign_out) }
            }
        }
    }
}

/// Theme and language: forms, so that they work without a script.
fn preferences(visitor: &Visitor) -> Markup {
    let texts = visitor.texts();
    let (theme, label) = match visitor.theme {
        Theme::Light => (Theme::Dark, texts.to_dark),
        Theme::Dark | Theme::Auto => (Theme::Light, texts.to_light),
    };
    let other = visitor.language.other();
    html! {
        form.toggles method="post" action="/preferences" {
            input type="hidden" name="back" value=(visitor.path);
            button.quiet type="submit" name="theme" value=(theme.as_str()) { (label) }
            button.quiet type="submit" name="language" value=(other.as_str()) lang=(other.as_str()) { (other.texts().own_name) }
        }
    }
}
