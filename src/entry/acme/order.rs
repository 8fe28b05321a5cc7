//! One order, from the request for it to the certificate.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::challenges::{Challenges, Posted};
use super::problem::OrderProblem;
use super::schedule::Setback;
use crate::config::Challenge;

/// How often a CA is asked how far it is, and for how long.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_secs(60));

/// Orders a certificate for a domain: its new key and the chain, PEM, in this order.
pub async fn order(
    account: &Account,
    domain: &str,
    challenge: Challenge,
    challenges: &Arc<Challenges>,
) -> Result<String, OrderProblem> {
    let identifiers = [Identifier::Dns(domain.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let posted = answer(&mut order, domain, challenge, challenges).await?;
    let polled = order.poll_ready(&PATIENCE).await;
    let is_void = order.state().status == OrderStatus::Invalid;
    match polled {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => {
            let reason = reason(&mut order).await.unwrap_or_else(|| "it does not say why".to_owned());
            return Err(OrderProblem::NotOurs(reason));
        }
        // An order that is void says so in general words; what the challenges say is more to the point. Any other error,
        // and a limit, is no word on the name.
        Err(error) => {
            let is_api = matches!(error, Error::Api(_));
            let problem = OrderProblem::from(error);
            let refuses = is_void && is_api && problem.setback(None) == Setback::Refused;
            let reason = if refuses { reason(&mut order).await } else { None };
            return Err(reason.map_or(problem, OrderProblem::NotOurs));
        }
    }
    drop(posted);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    order.finalize_csr(params.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    Ok([key.serialize_pem(), chain].concat())
}

/// Answers every challenge of the order for as long as what is handed back is kept.
async fn answer(
    order: &mut Order,
    domain: &str,
    challenge: Challenge,
    challenges: &Arc<Challenges>,
) -> Result<Vec<Posted>, OrderProblem> {
    let mut posted = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization: AuthorizationHandle<'_> = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue; // one that is kept from an order before, or that the end will tell of
        }
        let (kind, name) = match challenge {
            Challenge::Http01 => (ChallengeType::Http01, "http-01"),
            Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        };
        let mut offered = authorization.challenge(kind).ok_or(OrderProblem::NoSuchChallenge(name))?;
        let proof = offered.key_authorization();
        posted.push(match challenge {
            Challenge::Http01 => challenges.post_http(&offered.token, proof.as_str()),
            Challenge::TlsAlpn01 => challenges.post_tls(domain, proof.digest().as_ref())?,
        });
        offered.set_ready().await?;
    }
    Ok(posted)
}

/// Why the order is void, as the CA says where it looked. None: it does not say.
async fn reason(order: &mut Order) -> Option<String> {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        reasons.extend(
            state
                .challenges
                .iter()
                .filter_map(|challenge| challenge.error.as_ref())
                .map(|error| error.detail.clone().or_else(|| error.r#type.clone()).unwrap_or_default()),
        );
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
