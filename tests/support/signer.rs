//! What a Supabase project signs its tokens with.

use std::process::Command;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// How tokens are signed.
#[derive(Clone)]
pub enum Signer {
    Secret(Arc<str>),
    Curve(&'static str, Arc<EcdsaKeyPair>),
    Rsa(&'static str, Arc<RsaKeyPair>),
}

impl Signer {
    pub fn secret(text: &str) -> Self {
        Signer::Secret(Arc::from(text))
    }

    pub fn curve(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Signer::Curve(kid, Arc::new(pair))
    }

    /// One key a program: ring makes none, and `openssl`, which the tests' servers need anyway, takes its time.
    pub fn rsa(kid: &'static str) -> Self {
        static MADE: OnceLock<Arc<RsaKeyPair>> = OnceLock::new();
        let make = || {
            let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "DER"];
            let made = Command::new("openssl").args(arguments).output().expect("openssl can be run");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            // PKCS #8 or the older form, as the version has it.
            let pair = RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout));
            Arc::new(pair.expect("a key"))
        };
        Signer::Rsa(kid, Arc::clone(MADE.get_or_init(make)))
    }

    pub fn header(&self) -> Value {
        match self {
            Signer::Secret(_) => json!({ "alg": "HS256", "typ": "JWT" }),
            Signer::Curve(kid, _) => json!({ "alg": "ES256", "typ": "JWT", "kid": kid }),
            Signer::Rsa(kid, _) => json!({ "alg": "RS256", "typ": "JWT", "kid": kid }),
        }
    }

    pub fn token(&self, claims: &Value) -> String {
        let text = format!("{}.{}", BASE64.encode(self.header().to_string()), BASE64.encode(claims.to_string()));
        let signature = match self {
            Signer::Secret(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes()).as_ref().to_vec()
            }
            Signer::Curve(_, pair) => pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            Signer::Rsa(_, pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{text}.{}", BASE64.encode(signature))
    }

    /// As it stands in a project's JWKS. None: a secret is in no public document.
    pub fn jwk(&self) -> Option<Value> {
        match self {
            Signer::Secret(_) => None,
            Signer::Curve(kid, pair) => {
                let point = pair.public_key().as_ref();
                Some(json!({
                    "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "key_ops": ["verify"], "ext": true,
                    "kid": kid, "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..]),
                }))
            }
            Signer::Rsa(kid, pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                Some(json!({
                    "kty": "RSA", "alg": "RS256", "use": "sig", "key_ops": ["verify"], "ext": true, "kid": kid,
                    "n": BASE64.encode(&public.n), "e": BASE64.encode(&public.e),
                }))
            }
        }
    }
}
