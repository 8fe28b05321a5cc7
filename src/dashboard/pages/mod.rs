//! The pages, a file each, and the paths they are at.

mod account;
mod connect;
mod entering;
pub(super) mod failure;
mod filter;
mod key_forms;
mod keys;
mod log;
mod logs;
mod operator;
mod overview;
mod playground;
mod preferences;
mod users;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};

use super::visitor::Visitor;
use super::{Dashboard, assets, guard, signed};

pub(super) fn router(dashboard: Arc<Dashboard>) -> Router {
    let signed = Router::new()
        .route("/", get(overview::page))
        .route("/logs", get(logs::page))
        .route("/logs/{id}", get(log::page))
        .route("/keys", get(keys::page).post(keys::create))
        .route("/keys/{id}/rename", post(keys::rename))
        .route("/keys/{id}/expiry", post(keys::expiry))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .route("/keys/{id}/revoke", post(keys::revoke))
        .route("/connect", get(connect::page))
        .route("/playground", get(playground::page))
        .route("/playground/key", post(playground::key))
        .route("/operator", get(operator::page))
        .route("/operator/reload", post(operator::reload))
        .route("/operator/users", post(users::create))
        .route("/operator/users/{id}", post(users::change))
        .route("/operator/users/{id}/link", post(users::link))
        .route("/operator/invitations", post(users::invite))
        .route("/account", get(account::page))
        .route("/account/password", post(account::password))
        .route("/sign-out", post(entering::sign_out))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(from_fn_with_state(Arc::clone(&dashboard), signed::signed));
    Router::new()
        .route("/sign-in", get(entering::page).post(entering::by_password))
        .route("/sign-in/link", get(entering::link_page).post(entering::by_link))
        .route("/register", get(entering::register_page).post(entering::register))
        .route("/preferences", post(preferences::set))
        .route("/assets/{name}", get(assets::serve))
        .method_not_allowed_fallback(wrong_method)
        .merge(signed)
        .fallback(not_found)
        .layer(from_fn(guard::guard))
        .with_state(dashboard)
}

async fn not_found(Extension(visitor): Extension<Visitor>) -> Response {
    failure::page(&visitor, None, StatusCode::NOT_FOUND, failure::Failure::NotFound)
}

async fn wrong_method(Extension(visitor): Extension<Visitor>, _: Request) -> Response {
    failure::page(&visitor, None, StatusCode::METHOD_NOT_ALLOWED, failure::Failure::NotFound)
}
