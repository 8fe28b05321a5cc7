//! What each code means to who reads it: those of `docs/refusals.md`, and the two a row may hold beside them.

use super::Language;

/// Code, English, Turkish.
const REASONS: &[(&str, &str, &str)] = &[
    ("invalid_json", "The body was no JSON.", "Gövde JSON değildi."),
    (
        "invalid_field",
        "A field of the body was wrong, or not for clients to set.",
        "Gövdedeki bir alan hatalıydı ya da istemcilerin belirlemesine açık değildi.",
    ),
    ("missing_field", "A field that must be there was missing.", "Bulunması gereken bir alan eksikti."),
    (
        "invalid_stage",
        "The header X-CFX-Stage named no stage there is.",
        "X-CFX-Stage başlığı var olan bir aşamayı adlandırmadı.",
    ),
    ("model_not_allowed", "That model may not be asked for directly.", "Bu model doğrudan istenemez."),
    (
        "direct_mode_disabled",
        "Models cannot be named directly here: ask for a stage.",
        "Burada modeller doğrudan adlandırılamaz: bir aşama isteyin.",
    ),
    ("conflicting_keys", "Two headers carried two different API keys.", "İki başlıkta iki farklı API anahtarı vardı."),
    (
        "invalid_request",
        "The request was no well-formed HTTP, or had a header that is refused.",
        "İstek düzgün HTTP değildi ya da reddedilen bir başlık taşıyordu.",
    ),
    ("invalid_path", "The path could be read as two different ones.", "Yol iki ayrı biçimde okunabilirdi."),
    ("missing_api_key", "There was no API key.", "API anahtarı yoktu."),
    (
        "invalid_api_key",
        "The API key is unknown, malformed or revoked.",
        "API anahtarı bilinmiyor, bozuk ya da iptal edilmiş.",
    ),
    ("expired_api_key", "The API key's time is over.", "API anahtarının süresi doldu."),
    ("not_permitted", "The key is limited to other stages or models.", "Anahtar başka aşama ya da modellerle sınırlı."),
    ("address_not_allowed", "The route does not admit this address.", "Rota bu adresi kabul etmiyor."),
    ("unauthorized", "The route asks for a name and a password.", "Rota ad ve parola ister."),
    ("not_found", "There is no such endpoint.", "Böyle bir uç nokta yok."),
    ("method_not_allowed", "The endpoint has other methods.", "Uç noktanın başka yöntemleri var."),
    ("header_timeout", "The request's head did not come in time.", "İsteğin başlığı zamanında gelmedi."),
    ("body_timeout", "The request's body did not come in time.", "İsteğin gövdesi zamanında gelmedi."),
    ("client_too_slow", "The client did not read the answer in time.", "İstemci yanıtı zamanında okumadı."),
    ("body_too_large", "The request's body was larger than is allowed.", "İsteğin gövdesi izin verilenden büyüktü."),
    (
        "unsupported_media_type",
        "The body was not JSON by its Content-Type, or was encoded.",
        "Gövde Content-Type'a göre JSON değildi ya da kodlanmıştı.",
    ),
    (
        "misdirected_request",
        "The connection was opened for another host.",
        "Bağlantı başka bir sunucu adı için açılmıştı.",
    ),
    (
        "headers_too_large",
        "The request's headers were too large, or too many.",
        "İsteğin başlıkları çok büyük ya da çok fazlaydı.",
    ),
    (
        "daily_quota_exceeded",
        "The requests of this UTC day were used up. They begin anew at 00:00 UTC.",
        "Bu UTC gününün istekleri tükendi. 00:00 UTC'de yeniden başlar.",
    ),
    (
        "too_many_concurrent_requests",
        "Too many requests were under way at once. Let one end, then ask again.",
        "Aynı anda çok fazla istek sürüyordu. Biri bitsin, sonra yeniden deneyin.",
    ),
    (
        "rate_limit_exceeded",
        "Too many requests came from this address in a short time.",
        "Bu adresten kısa sürede çok fazla istek geldi.",
    ),
    (
        "too_many_failed_keys",
        "This address tried too many unknown keys.",
        "Bu adres çok fazla bilinmeyen anahtar denedi.",
    ),
    (
        "internal_error",
        "Something went wrong inside cfx. The request's id helps whoever runs it to find out what.",
        "cfx içinde bir şey ters gitti. İstek kimliği, işleten kişinin nedenini bulmasına yardım eder.",
    ),
    (
        "upstream_error",
        "The model's provider broke off, or what it said was no answer.",
        "Model sağlayıcısı yarıda kesti ya da söylediği bir yanıt değildi.",
    ),
    (
        "upstream_auth_error",
        "The provider refused the edge's own key. That is for its operators to mend.",
        "Sağlayıcı kenarın kendi anahtarını reddetti. Bunu operatörler düzeltmelidir.",
    ),
    (
        "upstream_unavailable",
        "No provider could be reached, or all were left alone after failing.",
        "Hiçbir sağlayıcıya ulaşılamadı ya da hepsi hatalar sonrası dinlendiriliyordu.",
    ),
    ("overloaded", "The edge was full. Ask again in a moment.", "Kenar doluydu. Birazdan yeniden deneyin."),
    ("maintenance", "The route is under maintenance.", "Rota bakımda."),
    ("shutting_down", "The edge was stopping. Ask again.", "Kenar kapanıyordu. Yeniden deneyin."),
    ("store_unavailable", "The database could not be asked.", "Veritabanına sorulamadı."),
    ("upstream_timeout", "The provider did not answer in time.", "Sağlayıcı zamanında yanıt vermedi."),
    ("cancelled", "The client left before the answer's end.", "İstemci yanıt bitmeden ayrıldı."),
    ("edge stopped", "The edge stopped while the request was under way.", "İstek sürerken kenar durdu."),
];

/// None: no code of ours.
pub(in crate::dashboard) fn reason(language: Language, code: &str) -> Option<&'static str> {
    let (_, english, turkish) = REASONS.iter().find(|(known, _, _)| *known == code)?;
    Some(match language {
        Language::English => english,
        Language::Turkish => turkish,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_there_is_has_its_reason_in_both_languages() {
        let page = include_str!("../../../docs/refusals.md");
        let codes: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert!(codes.len() > 30, "{codes:?}");
        for code in codes {
            for language in Language::ALL {
                assert!(reason(language, code).is_some_and(|reason| reason.len() > 10), "{code} {language:?}");
            }
        }
        assert_eq!(reason(Language::English, "nothing of ours"), None);
    }
}
