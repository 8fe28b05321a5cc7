//! Theme and language, remembered in cookies that say nothing of anybody.

use axum::Extension;
use axum::http::header::SET_COOKIE;
use axum::response::Response;

use crate::dashboard::cookies::{LANGUAGE, THEME};
use crate::dashboard::form::Form;
use crate::dashboard::signed::redirect;
use crate::dashboard::texts::Language;
use crate::dashboard::visitor::{Theme, Visitor, own_path};

pub(super) async fn set(Extension(visitor): Extension<Visitor>, form: Form) -> Response {
    let theme = Theme::parse(form.text("theme")).and_then(|theme| visitor.origin.prefer(THEME, theme.as_str()));
    let language =
        Language::parse(form.text("language")).and_then(|language| visitor.origin.prefer(LANGUAGE, language.as_str()));
    let mut answer = redirect(own_path(form.text("back")));
    for cookie in [theme, language].into_iter().flatten() {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}
