//! Every path under `/api`, and who answers it: one list, of which the router is made and, by a test, the description. What
//! is served is described, and what is described is served.

use axum::Router;
use axum::routing::{delete, get, patch, post, put};

use super::{Shared, keys, logs, me, models, operator, sign_in, supabase, usage};

/// Made of the list: the routes and, for the description, the handlers, whose own words stand at each of them.
macro_rules! routes {
    ($($method:ident $path:literal => $($handler:ident)::+;)*) => {
        pub(super) fn served() -> Router<Shared> {
            Router::new()$(.route($path, $method($($handler)::+)))*
        }

        #[cfg(test)]
        pub(super) fn described(head: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
            let router = utoipa_axum::router::OpenApiRouter::<Shared>::with_openapi(head);
            router$(.routes(utoipa_axum::routes!($($handler)::+)))*.into_openapi()
        }

        /// Each path and method, with what its handler says of itself.
        #[cfg(test)]
        pub(super) fn each() -> Vec<(&'static str, &'static str, utoipa::openapi::Paths)> {
            fn paths<S>((_, paths, _): utoipa_axum::router::UtoipaMethodRouter<S>) -> utoipa::openapi::Paths {
                paths
            }
            vec![$(($path, stringify!($method), paths::<Shared>(utoipa_axum::routes!($($handler)::+)))),*]
        }
    };
}

routes! {
    post "/api/register" => sign_in::register;
    post "/api/login" => sign_in::login;
    post "/api/login/link" => sign_in::login_by_link;
    post "/api/login/link/password" => sign_in::password_by_link;
    post "/api/login/supabase" => supabase::login_by_supabase;
    post "/api/logout" => me::logout;
    post "/api/refresh" => me::refresh;
    get "/api/me" => me::me;
    put "/api/me/password" => me::set_password;
    get "/api/keys" => keys::list;
    post "/api/keys" => keys::create;
    post "/api/keys/playground" => keys::playground;
    patch "/api/keys/{id}" => keys::change;
    delete "/api/keys/{id}" => keys::revoke;
    post "/api/keys/{id}/rotate" => keys::rotate;
    get "/api/usage/today" => usage::today;
    get "/api/usage/days" => usage::days;
    get "/api/usage/stages" => usage::stages;
    get "/api/usage/models" => usage::models;
    get "/api/logs" => logs::list;
    get "/api/logs/tail" => logs::tail;
    get "/api/logs/export" => logs::export;
    get "/api/logs/{request_id}" => logs::one;
    get "/api/models" => models::offer;
    get "/api/operator/state" => operator::state;
    post "/api/operator/reload" => operator::reload;
    get "/api/operator/users" => operator::users;
    post "/api/operator/users" => operator::create_user;
    patch "/api/operator/users/{id}" => operator::change_user;
    post "/api/operator/users/{id}/link" => operator::link_of_user;
    post "/api/operator/invitations" => operator::invite;
    get "/api/operator/users/{id}/usage" => operator::usage_of_user;
}
