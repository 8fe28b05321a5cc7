//! What may be asked for.

use axum::Json;
use axum::extract::State;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Shared, api};
use crate::config::{Model, Models};
use crate::units::Stage;

/// The stages and models that you may use
#[utoipa::path(
    get, path = "/api/models", tag = "models",
    responses((status = 200, description = "As configured at this moment", body = api::Offer))
)]
pub(super) async fn offer(State(control): State<Shared>, _caller: Caller) -> Result<Json<api::Offer>, Refusal> {
    let snapshot = control.snapshot();
    let models = &*snapshot.models;
    let stages = Stage::ALL.into_iter().filter_map(|stage| {
        let policy = models.stage(stage)?;
        Some(api::StageOfUse { name: stage.as_str().to_owned(), model: policy.model.alias.to_string() })
    });
    let stages: Vec<_> = stages.collect();
    let offered = models.aliases.values().filter(|model| {
        is_direct(models, &model.alias)
            || stages.iter().any(|stage| stage.model == *model.alias)
            || is_beside(models, model)
    });
    let offered = offered.map(|model| described(model)).collect();
    Ok(Json(api::Offer { stages, models: offered, direct: models.direct.enabled }))
}

fn is_direct(models: &Models, alias: &str) -> bool {
    let direct = &models.direct;
    let allowed = direct.allow.is_empty() || direct.allow.iter().any(|name| name == alias);
    direct.enabled && allowed && !direct.deny.iter().any(|name| name == alias)
}

/// Whether it answers an endpoint that has no stage.
fn is_beside(models: &Models, model: &Model) -> bool {
    [&models.embeddings, &models.completions].into_iter().flatten().any(|other| other.alias == model.alias)
}

fn described(model: &Model) -> api::Model {
    let price = &model.price;
    let is_known = price.input > 0 || price.output > 0;
    let per_million = |price: u64| is_known.then(|| dollars_per_million(price));
    api::Model {
        alias: model.alias.to_string(),
        input_price: per_million(price.input),
        output_price: per_million(price.output),
    }
}

#[expect(clippy::cast_precision_loss, reason = "prices have far fewer than 53 significant bits")]
fn dollars_per_million(price: u64) -> f64 {
    price as f64 / 1e9
}
