//! One token: what it says, and whether it may say that. RFC 7519, and RFC 8725 on what goes wrong with it.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use uuid::Uuid;

use super::backend;
use crate::config;
use crate::units::Timestamp;

/// Clocks differ by so much at most, in seconds.
const LEEWAY: f64 = 60.0;
/// In bytes. Supabase's have one or two thousand.
const LONGEST: usize = 16 * 1024;

/// What a token that holds says of its user.
#[derive(Debug)]
pub(super) struct Claims {
    pub user: Uuid,
    pub email: String,
}

/// What has to be known of a token before it can be verified. None of it is proven.
pub(super) struct Seen {
    pub alg: Algorithm,
    pub kid: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenProblem {
    #[error("it is none")]
    Form,
    #[error("it is signed by an algorithm that is not taken here")]
    Algorithm,
    #[error("it is signed with a key that is not known")]
    Key,
    #[error("its signature does not hold")]
    Signature,
    #[error("it is issued by somebody else")]
    Issuer,
    #[error("it is meant for somebody else")]
    Audience,
    #[error("its time is over")]
    Expired,
    #[error("its time has not come")]
    NotYet,
    #[error("its role is not `authenticated`")]
    Role,
    #[error("its user has no e-mail address")]
    Email,
    #[error("its user may not sign in here")]
    Nobody,
}

#[derive(Deserialize)]
struct Said {
    sub: String,
    role: String,
    exp: f64,
    nbf: Option<f64>,
    #[serde(default)]
    email: Option<String>,
}

pub(super) fn look(text: &str) -> Result<Seen, TokenProblem> {
    if text.len() > LONGEST {
        return Err(TokenProblem::Form);
    }
    // `none`, and whatever is not in the library's list, is no algorithm to it.
    let header = decode_header(text).map_err(|_| TokenProblem::Form)?;
    // What is critical has to be understood (RFC 7515, 4.1.11), and nothing of it is.
    if header.crit.is_some() {
        return Err(TokenProblem::Form);
    }
    Ok(Seen { alg: header.alg, kid: header.kid })
}

/// `algorithm` is the key's, never the token's choice.
pub(super) fn verify(
    text: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
    project: &config::Supabase,
    now: Timestamp,
) -> Result<Claims, TokenProblem> {
    backend::install();
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[format!("{}/auth/v1", project.url)]);
    validation.set_audience(&[&project.audience]);
    validation.set_required_spec_claims(&["iss", "aud", "sub"]);
    // Times are looked at below, by the clock that is passed in.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let said = decode::<Said>(text, key, &validation).map_err(|error| problem(&error))?.claims;
    on_time(&said, now)?;
    if said.role != "authenticated" {
        return Err(TokenProblem::Role);
    }
    let user = Uuid::try_parse(&said.sub).map_err(|_| TokenProblem::Form)?;
    let email = said.email.filter(|email| !email.is_empty()).ok_or(TokenProblem::Email)?;
    Ok(Claims { user, email })
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 have far fewer than 53 bits")]
fn on_time(said: &Said, now: Timestamp) -> Result<(), TokenProblem> {
    let now = now.0 as f64 / 1e6;
    if now >= said.exp + LEEWAY {
        return Err(TokenProblem::Expired);
    }
    if said.nbf.is_some_and(|nbf| now < nbf - LEEWAY) {
        return Err(TokenProblem::NotYet);
    }
    Ok(())
}

fn problem(error: &jsonwebtoken::errors::Error) -> TokenProblem {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenProblem::Algorithm,
        ErrorKind::InvalidSignature => TokenProblem::Signature,
        ErrorKind::InvalidIssuer => TokenProblem::Issuer,
        ErrorKind::InvalidAudience => TokenProblem::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenProblem::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenProblem::Audience,
        ErrorKind::InvalidKeyFormat => TokenProblem::Key,
        _ => TokenProblem::Form,
    }
}
